package vm

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Image formats of [Disk].
const (
	FormatRaw   = "raw"
	FormatQcow2 = "qcow2"
)

// Kinds of [Disk].Media.
const (
	MediaDisk  = "disk"
	MediaCDROM = "cdrom"
)

// Disk is a block device. Give at most one of Path and Base; with neither, an empty
// disk of Size is made when the VM starts.
type Disk struct {
	// Name identifies the disk in the VM: a letter, then letters, digits, '.', '_', '-',
	// at most 31 in all. Empty: "disk0", "disk1", ... by position.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Path is an existing image or block device, used in place.
	Path string `json:"path,omitempty" yaml:"path,omitempty"`
	// Base is an existing image that is never written: the VM writes to an overlay.
	Base string `json:"base,omitempty" yaml:"base,omitempty"`
	// Format of Path or Base: "raw" or "qcow2". Never probed. Empty: by the file's
	// ending: .qcow2, or .raw, .img and .iso for raw.
	Format string `json:"format,omitempty" yaml:"format,omitempty"`
	// Size of a disk that is made, or of the overlay if larger than its base.
	Size Size `json:"size,omitempty" yaml:"size,omitempty"`
	// Media is "disk" or "cdrom". Empty: "cdrom" for a Path that ends in .iso, else "disk".
	// A CD-ROM is read-only; one with no Path is an empty tray.
	Media string `json:"media,omitempty" yaml:"media,omitempty"`
	// ReadOnly attaches the disk read-only.
	ReadOnly bool `json:"read_only,omitempty" yaml:"read_only,omitempty"`
	// Keep keeps what the guest wrote (the overlay, or the disk that was made) from one
	// start to the next, until the VM is removed. The default follows the VM: true for
	// Persistent, false for Ephemeral VMs, whose disks vanish when the guest stops.
	Keep *bool `json:"keep,omitempty" yaml:"keep,omitempty"`
	// Interface is "virtio", "scsi" (virtio-scsi), "nvme", "sata", "ide" or "usb". Empty:
	// "virtio", or what the machine has for CD-ROMs: "sata" on q35, "ide" on pc, else "scsi".
	Interface string `json:"interface,omitempty" yaml:"interface,omitempty"`
	// Serial is what the guest sees as the disk's serial number, at most 20 characters.
	Serial string `json:"serial,omitempty" yaml:"serial,omitempty"`
	// BootOrder is the place in the order in which firmware tries devices: 1 is first. 0:
	// after those that have one; without any, disks that hold an image in their order.
	BootOrder int `json:"boot_order,omitempty" yaml:"boot_order,omitempty"`
	// Cache is "writeback" (the default), "none", "writethrough", "directsync" or "unsafe"
	// (the default for what vanishes with the guest). QEMU manual, qemu-img(1), "-t CACHE".
	Cache string `json:"cache,omitempty" yaml:"cache,omitempty"`
	// AIO is "threads" (the default), "native" (needs a Cache of "none" or "directsync")
	// or "io_uring".
	AIO string `json:"aio,omitempty" yaml:"aio,omitempty"`
	// Discard is "unmap" (the default): what the guest trims is freed in the image; or
	// "ignore".
	Discard string `json:"discard,omitempty" yaml:"discard,omitempty"`
	// Throttle bounds what the guest can do with the disk.
	Throttle Throttle `json:"throttle,omitzero" yaml:"throttle,omitempty"`
}

// Throttle bounds a disk's operations and bytes per second, all in all, or reads and writes
// each. 0: no bound. QEMU QMP Reference Manual, ThrottleLimits.
type Throttle struct {
	IOPS      int64 `json:"iops,omitempty" yaml:"iops,omitempty"`
	ReadIOPS  int64 `json:"read_iops,omitempty" yaml:"read_iops,omitempty"`
	WriteIOPS int64 `json:"write_iops,omitempty" yaml:"write_iops,omitempty"`
	Rate      Size  `json:"rate,omitempty" yaml:"rate,omitempty"` // bytes per second
	ReadRate  Size  `json:"read_rate,omitempty" yaml:"read_rate,omitempty"`
	WriteRate Size  `json:"write_rate,omitempty" yaml:"write_rate,omitempty"`
}

// NameAt returns the disk's name, or the one it has by its position.
func (d Disk) NameAt(index int) string {
	if d.Name != "" {
		return d.Name
	}
	return fmt.Sprintf("disk%d", index)
}

// ImageFormat returns Format, or what the ending of Path or Base says, or "".
func (d Disk) ImageFormat() string {
	if d.Format != "" {
		return d.Format
	}
	switch strings.ToLower(filepath.Ext(d.Path + d.Base)) {
	case ".qcow2":
		return FormatQcow2
	case ".raw", ".img", ".iso":
		return FormatRaw
	}
	return ""
}

// HasImage reports whether the disk holds an image that existed before, which a
// guest might boot from.
func (d Disk) HasImage() bool { return d.Path != "" || d.Base != "" }

// inPlace reports whether the guest works on the image that the user brought. No image
// is made then.
func (d Disk) inPlace() bool { return d.Path != "" || (d.Base != "" && d.ReadOnly) }

// keeps reports whether what the guest writes outlives the guest.
func (d Disk) keeps(l Lifetime) bool {
	if d.Keep != nil {
		return *d.Keep
	}
	return l == Persistent
}
