package vm

import "fmt"

// Kinds of [Network].Type.
const (
	NetworkUser    = "user"    // QEMU's user-mode network: out through the host, in through Forwards
	NetworkSegment = "segment" // a private network of VMs; needs no rights
	NetworkPasst   = "passt"   // like user, through the program passt
	NetworkTap     = "tap"     // an existing tap device; needs rights
	NetworkBridge  = "bridge"  // an existing bridge, through QEMU's bridge helper; needs rights
	NetworkNone    = "none"    // a card without a cable
)

// Network is a network card and what is behind it.
type Network struct {
	Name string `json:"name,omitempty" yaml:"name,omitempty"` // Empty: "net0", "net1", ... by position.
	// Type is "user" (the default), "segment", "passt", "tap", "bridge" or "none".
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// MAC is the card's address. Empty: derived from the VM's ID and the position.
	MAC string `json:"mac,omitempty" yaml:"mac,omitempty"`
	// Model is "virtio" (the default) or a card of QEMU's: "e1000e", "rtl8139", ...
	Model string `json:"model,omitempty" yaml:"model,omitempty"`
	// Forwards are for types user and passt.
	Forwards []Forward `json:"forwards,omitempty" yaml:"forwards,omitempty"`
	// Segment is the name of the network that a card of type segment is on: all cards with
	// the same name below one folder (see maqet.WithDir) hear each other. Empty: "default".
	Segment string `json:"segment,omitempty" yaml:"segment,omitempty"`
	// Interface is the host's tap device or bridge.
	Interface string `json:"interface,omitempty" yaml:"interface,omitempty"`
	// Restrict keeps the guest of a user network from reaching anything but its forwards.
	Restrict bool `json:"restrict,omitempty" yaml:"restrict,omitempty"`
	// Subnet of a user network, as "10.0.2.0/24", which is the default.
	Subnet string `json:"subnet,omitempty" yaml:"subnet,omitempty"`
	// LinkDown starts the card with its cable pulled.
	LinkDown bool `json:"link_down,omitempty" yaml:"link_down,omitempty"`
	// Capture is the path of a file that gets the card's packets, in pcap format. It is
	// made; an existing file is not overwritten.
	Capture string `json:"capture,omitempty" yaml:"capture,omitempty"`
	// BootOrder is as Disk.BootOrder, for booting from the network.
	BootOrder int `json:"boot_order,omitempty" yaml:"boot_order,omitempty"`
}

// Forward passes connections to a port of the host on to a port of the guest.
type Forward struct {
	Host string `json:"host,omitempty" yaml:"host,omitempty"` // IPv4 address; empty: "127.0.0.1".
	// Port on the host. 0: a free one, which Instance.Runtime.Forwards has.
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
