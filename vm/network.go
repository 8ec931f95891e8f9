package vm

import (
	"cmp"
	"fmt"
)

// Kinds of [Network].Type.
const (
	NetworkUser    = "user"    // QEMU's user-mode network: out through the host, in through Forwards
	NetworkSegment = "segment" // a private network of VMs; needs no rights
	NetworkPasst   = "passt"   // like user, through the program passt, which is faster
	NetworkTap     = "tap"     // an existing tap device; needs the right to open it
	NetworkBridge  = "bridge"  // a tap device of its own on an existing bridge; needs CAP_NET_ADMIN
	NetworkNone    = "none"    // a card without a cable
)

// Defaults of a [Network].
const (
	DefaultSegment = "default"
	DefaultSubnet  = "10.0.2.0/24" // of type user and passt
	ModelVirtio    = "virtio"
)

// Network is a network card and what is behind it.
type Network struct {
	Name string `json:"name,omitempty" yaml:"name,omitempty"` // Empty: "net0", "net1", ... by position.
	// Type is "user" (the default), "segment", "passt", "tap", "bridge" or "none".
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// MAC is the card's address. Empty: derived from the VM's ID and the position.
	MAC string `json:"mac,omitempty" yaml:"mac,omitempty"`
	// Model is "virtio" (the default) or a card by QEMU's name (-device help): "e1000e",
	// "rtl8139", ... A microvm has only virtio.
	Model string `json:"model,omitempty" yaml:"model,omitempty"`
	// Forwards are for types user and passt.
	Forwards []Forward `json:"forwards,omitempty" yaml:"forwards,omitempty"`
	// Segment is the name of the network that a card of type segment is on: all cards with
	// the same name below one folder (see maqet.WithDir) hear each other, also those of VMs
	// that other processes of this user run. Empty: "default".
	//
	// The frames are passed on by a process that has the folder open and runs, or has
	// attached to, a VM on the segment. When it ends another such process goes on; as long
	// as there is none the guests hear nothing.
	Segment string `json:"segment,omitempty" yaml:"segment,omitempty"`
	// Address is the card's IPv4 address and the length of its network's prefix, as
	// "10.1.0.2/16". The default guest gives it to the card; other systems configure
	// themselves, a cloud-init one by CloudInit.Network. Empty on types segment: an address of 10.N.0.0/16,
	// where N follows from Segment and the rest from the MAC, so that two of 30 guests get
	// the same one once in 150 segments: then set one. On types user and passt it is the fifteenth of Subnet
	// and can't be set. Empty on the others: none.
	Address string `json:"address,omitempty" yaml:"address,omitempty"`
	// Interface is the host's tap device or bridge.
	Interface string `json:"interface,omitempty" yaml:"interface,omitempty"`
	// Restrict keeps the guest of a user network from reaching anything but its forwards.
	Restrict bool `json:"restrict,omitempty" yaml:"restrict,omitempty"`
	// Subnet of a user or passt network. Empty: "10.0.2.0/24". The second address in it is
	// the host's, the third a name server's, the fifteenth the guest's. The prefix has 8 to 27 bits.
	Subnet string `json:"subnet,omitempty" yaml:"subnet,omitempty"`
	// LinkDown starts the card with its cable pulled; qmp.Manager.SetLink plugs it in.
	LinkDown bool `json:"link_down,omitempty" yaml:"link_down,omitempty"`
	// Capture is the path of a file that gets the card's packets, in pcap format, with mode
	// 0600. A file that exists is never overwritten: then ".1", ".2", ... is appended to
	// the path, as at each further start of the VM. Instance.Runtime.Captures has the paths.
	Capture string `json:"capture,omitempty" yaml:"capture,omitempty"`
	// BootOrder is as Disk.BootOrder, for booting from the network.
	BootOrder int `json:"boot_order,omitempty" yaml:"boot_order,omitempty"`
}

// Forward passes connections to a port of the host on to a port of the guest. QEMU accepts
// a connection at once, also when nobody listens in the guest.
type Forward struct {
	Host string `json:"host,omitempty" yaml:"host,omitempty"` // IPv4 address; empty: "127.0.0.1".
	// Port on the host. 0: a free one, which Instance.Runtime.Forwards has; type user only.
	Port  int    `json:"port,omitempty" yaml:"port,omitempty"`
	Guest int    `json:"guest" yaml:"guest"`                     // port in the guest
	Proto string `json:"proto,omitempty" yaml:"proto,omitempty"` // "tcp" (the default) or "udp".
}

// NameAt returns the network's name, or the one it has by its position.
func (n Network) NameAt(index int) string {
	if n.Name != "" {
		return n.Name
	}
	return fmt.Sprintf("net%d", index)
}

// TypeOf returns the network's type, or the default.
func (n Network) TypeOf() string { return cmp.Or(n.Type, NetworkUser) }
