package qmp

import (
	"maps"
	"slices"
)

// Device is what [Manager.AddDevice] plugs into a running VM: a driver with its
// properties, or one of the parts below, of which QEMU's backend objects are made as
// well. It has JSON tags because it is recorded, see [Recorder].
type Device struct {
	// ID names the device in the VM: a letter, then at most 30 letters, digits, '.', '_'
	// and '-'; for a disk at most 26, because QEMU's names of block nodes end there. It
	// is required. What is made for the device has the same name: the block node ID (and
	// ID-file below it), the network, character or other backend ID.
	ID string `json:"id"`
	// Driver is QEMU's name of it (-device help). Empty: what the part implies. Required
	// where there is no part.
	Driver string `json:"driver,omitempty"`
	// Bus is where it goes, by QEMU's name. Empty: a free place is chosen, and recorded:
	// a PCI Express port for a PCI device (see vm.Config.HotplugPorts), the first
	// virtio-serial, virtio-scsi or USB bus, a free slot for memory or a CPU.
	Bus string `json:"bus,omitempty"`
	// Props are further properties as QEMU names them (-device DRIVER,help), with values
	// that JSON can express.
	Props map[string]any `json:"props,omitempty"`

	// At most one of these.
	Disk   *Disk       `json:"disk,omitempty"`
	NIC    *NIC        `json:"nic,omitempty"`
	Serial *SerialPort `json:"serial,omitempty"`
	RNG    *RNG        `json:"rng,omitempty"`
	Memory *Memory     `json:"memory,omitempty"`
	CPU    *CPU        `json:"cpu,omitempty"`
}

// Interfaces of a [Disk].
const (
	DiskVirtio = "virtio" // virtio-blk-pci, which Linux calls vda
	DiskSCSI   = "scsi"   // scsi-hd on a virtio-scsi bus, which must be there: sda
	DiskNVMe   = "nvme"   // nvme: nvme0n1
	DiskUSB    = "usb"    // usb-storage on a qemu-xhci controller, which must be there: sda
)

// Disk is an existing image as a block device.
type Disk struct {
	// Path of the image, a regular file, absolute: QEMU has a working folder of its own.
	Path string `json:"path"`
	// Format is "raw" or "qcow2". Required, and never probed: a guest that writes a
	// qcow2 header to a raw disk could else name any file of the host.
	Format   string `json:"format"`
	ReadOnly bool   `json:"read_only,omitempty"`
	// Interface is one of the constants. Empty: [DiskVirtio].
	Interface string `json:"interface,omitempty"`
	// Serial is what the guest sees as serial number, at most 20 printable ASCII
	// characters. Empty: none; for NVMe, which must have one, the device's ID.
	Serial string `json:"serial,omitempty"`
}

// NIC is a network card with QEMU's user-mode network behind it.
type NIC struct {
	// MAC is written 52:54:00:12:34:56. Empty: a random one in QEMU's range, which is
	// recorded.
	MAC      string    `json:"mac,omitempty"`
	Forwards []Forward `json:"forwards,omitempty"`
}

// Forward passes connections to a port of the host on to a port of the guest.
type Forward struct {
	Host  string `json:"host,omitempty"`  // IPv4 address; empty: "127.0.0.1"
	Port  int    `json:"port"`            // on the host
	Guest int    `json:"guest"`           // in the guest
	Proto string `json:"proto,omitempty"` // "tcp" (the default) or "udp"
}

// SerialPort is a virtio port, which Linux shows as /dev/virtio-ports/NAME or by the
// name in /sys/class/virtio-ports. It goes to the VM's virtio-serial bus, which every VM
// with an agent has. At most one of Socket and File; with neither, what the guest writes
// vanishes.
type SerialPort struct {
	Name string `json:"name"` // in the guest; required
	// Socket is the absolute path of a unix socket that QEMU makes and listens on, at
	// most 107 bytes. It is removed with the device.
	Socket string `json:"socket,omitempty"`
	// File is the absolute path of a file that gets what the guest writes, at its end.
	// QEMU makes it readable for others, as far as its umask lets it: make it first, with
	// mode 0600, if it must not be.
	File string `json:"file,omitempty"`
}

// RNG is a source of random numbers for the guest, fed by the host's (rng-builtin).
type RNG struct{}

// Memory is a memory module (pc-dimm). The VM needs room for it, see
// vm.Config.MaxMemory.
type Memory struct {
	// Size in bytes, whole MiB. Linux on x86 takes multiples of 128 MiB only, and ignores
	// others.
	Size int64 `json:"size"`
}

// CPU is another virtual CPU of the kind that the VM has. The VM needs a slot for it,
// see vm.Config.CPU.Max. Props can say which ("core-id": 1, as query-hotpluggable-cpus
// has them); which one it got is recorded there.
type CPU struct{}

// Clone returns a copy that shares nothing with d, as far as Props is made of what JSON
// decodes to.
func (d Device) Clone() Device {
	d.Props, _ = cloneValue(d.Props).(map[string]any)
	d.Disk, d.Serial = clonePointer(d.Disk), clonePointer(d.Serial)
	d.RNG, d.Memory, d.CPU = clonePointer(d.RNG), clonePointer(d.Memory), clonePointer(d.CPU)
	d.NIC = clonePointer(d.NIC)
	if d.NIC != nil {
		d.NIC.Forwards = slices.Clone(d.NIC.Forwards)
	}
	return d
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// cloneValue copies a decoded JSON value.
func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := maps.Clone(v)
		for k, e := range c {
			c[k] = cloneValue(e)
		}
		return c
	case []any:
		c := slices.Clone(v)
		for i, e := range c {
			c[i] = cloneValue(e)
		}
		return c
	}
	return v
}
