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

// Values of [Disk].Interface.
const (
	InterfaceVirtio = "virtio" // virtio-blk, which Linux calls vda
	InterfaceSCSI   = "scsi"   // on a virtio-scsi controller, which is made: sda, sr0
	InterfaceNVMe   = "nvme"   // nvme0n1
	InterfaceSATA   = "sata"   // AHCI: sda, sr0
	InterfaceIDE    = "ide"    // machine pc only: sda, sr0
	InterfaceUSB    = "usb"    // a stick, or a CD-ROM drive, on a USB 3 controller, which is made: sda, sr0
)

// Values of [Disk].Cache.
const (
	CacheWriteBack    = "writeback"
	CacheNone         = "none"
	CacheWriteThrough = "writethrough"
	CacheDirectSync   = "directsync"
	CacheUnsafe       = "unsafe"
)

// Values of [Disk].AIO.
const (
	AIOThreads = "threads"
	AIONative  = "native"
	AIOURing   = "io_uring"
)

// Values of [Disk].Discard.
const (
	DiscardUnmap  = "unmap"
	DiscardIgnore = "ignore"
)

// MaxSerial is how many characters a [Disk].Serial can have.
const MaxSerial = 20

// Disk is a block device. Give at most one of Path and Base; with neither, an empty
// disk of Size is made when the VM starts.
//
// In QEMU the disk's name is that of the device, and of the block node that holds its
// format, which is what snapshots and overlays are made of; the node of the file below it
// is NAME-file. Commands that want a root node, such as block-commit and blockdev-mirror,
// take the disk's name, too, or NAME-limit where there is a Throttle.
type Disk struct {
	// Name identifies the disk in the VM: a letter, then letters, digits, '.', '_', '-',
	// at most 25 in all, because QEMU's names of block nodes end there. Empty: "disk0",
	// "disk1", ... by position.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Path is an existing image or block device (/dev/...), used in place. What is not there
	// is an error at each start, and never made. A qcow2 image is refused when it is
	// encrypted and there is no KeyFile, keeps its data in another file, or has a base that is
	// not a file or whose format it does not state.
	Path string `json:"path,omitempty" yaml:"path,omitempty"`
	// Base is an existing image or block device that is never written: the VM writes to an
	// overlay. With ReadOnly it is as Path.
	Base string `json:"base,omitempty" yaml:"base,omitempty"`
	// Format of Path or Base: "raw" or "qcow2". Never probed. Empty: by the file's
	// ending: .qcow2, or .raw, .img and .iso for raw.
	Format string `json:"format,omitempty" yaml:"format,omitempty"`
	// Size of a disk that is made, or of the overlay if larger than its base.
	Size Size `json:"size,omitempty" yaml:"size,omitempty"`
	// KeyFile is a file with the passphrase of an image that is encrypted with LUKS, which is
	// for qcow2 images only: all of the file's bytes, with the line end if there is one. Nobody
	// but its owner may read or write it, or the start fails. What is made for the disk, an
	// empty image or the overlay over Base, is encrypted by it; Path has to be encrypted, Base may
	// be. QEMU reads the file when the VM starts, and takes about 2 s to make the key of it.
	// Empty: nothing is encrypted.
	KeyFile string `json:"key_file,omitempty" yaml:"key_file,omitempty"`
	// Media is "disk" or "cdrom". Empty: "cdrom" for a Path that ends in .iso, else "disk".
	// A CD-ROM is read-only; one with no Path is an empty tray.
	Media string `json:"media,omitempty" yaml:"media,omitempty"`
	// ReadOnly attaches the disk read-only. Interfaces sata and ide have no such disks,
	// except CD-ROMs.
	ReadOnly bool `json:"read_only,omitempty" yaml:"read_only,omitempty"`
	// Keep keeps what the guest wrote (the overlay, or the disk that was made) from one
	// start to the next, until the VM is removed. The default follows the VM: true for
	// Persistent, false for Ephemeral VMs, whose disks vanish when the guest stops.
	Keep *bool `json:"keep,omitempty" yaml:"keep,omitempty"`
	// Interface is "virtio", "scsi" (virtio-scsi), "nvme", "sata", "ide" or "usb". Empty:
	// "virtio", or what the machine has for CD-ROMs: "sata" on q35, "ide" on pc, else "scsi".
	// At most six disks are sata, and four ide. A microvm has only virtio and scsi, machine
	// pc alone has ide, and CD-ROMs are neither virtio nor nvme. Debian's cloud kernels have
	// no drivers for sata, ide and usb.
	Interface string `json:"interface,omitempty" yaml:"interface,omitempty"`
	// Serial is what the guest sees as the disk's serial number, at most 20 printable ASCII
	// characters. Empty: none, or what QEMU makes up; for nvme, which must have one, the
	// first 20 of the name.
	Serial string `json:"serial,omitempty" yaml:"serial,omitempty"`
	// BootOrder is the place in the order in which firmware tries devices, from 1 to 999: 1
	// is first, and no two devices have the same. 0: disks that hold an image come after all
	// that have a place, in their order, unless there is a Boot.Kernel; others are not tried.
	BootOrder int `json:"boot_order,omitempty" yaml:"boot_order,omitempty"`
	// Cache is "writeback" (the default), "none", "writethrough", "directsync" or "unsafe"
	// (the default for what vanishes with the guest). QEMU manual, qemu-img(1), "-t CACHE".
	// "none" and "directsync" need a file system that takes O_DIRECT.
	Cache string `json:"cache,omitempty" yaml:"cache,omitempty"`
	// AIO is "threads" (the default), "native" (needs a Cache of "none" or "directsync")
	// or "io_uring" (needs a QEMU and a kernel that have it).
	AIO string `json:"aio,omitempty" yaml:"aio,omitempty"`
	// Discard is "unmap" (the default): what the guest trims is freed in the image; or
	// "ignore".
	Discard string `json:"discard,omitempty" yaml:"discard,omitempty"`
	// Throttle bounds what the guest can do with the disk.
	Throttle Throttle `json:"throttle,omitzero" yaml:"throttle,omitempty"`
}

// Throttle bounds a disk's operations and bytes per second, all in all, or reads and writes
// each. 0: no bound. A tenth of a second's worth can come at once. QEMU QMP Reference
// Manual, ThrottleLimits; the throttle group is NAME-limit, and its property "limits"
// changes the bounds while the VM runs.
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

// IsCDROM reports whether the disk is a CD-ROM drive: by Media, or by the ending of Path.
func (d Disk) IsCDROM() bool {
	if d.Media != "" {
		return d.Media == MediaCDROM
	}
	return strings.EqualFold(filepath.Ext(d.Path), ".iso")
}

// IsReadOnly reports whether the guest can't write to the disk.
func (d Disk) IsReadOnly() bool { return d.ReadOnly || d.IsCDROM() }

// inPlace reports whether the guest works on the image that the user brought. No image
// is made then.
func (d Disk) inPlace() bool { return d.Path != "" || (d.Base != "" && d.IsReadOnly()) }

// emptyTray reports whether the disk is a CD-ROM drive without a medium.
func (d Disk) emptyTray() bool { return d.IsCDROM() && !d.HasImage() }

// keeps reports whether what the guest writes outlives the guest.
func (d Disk) keeps(l Lifetime) bool {
	if d.Keep != nil {
		return *d.Keep
	}
	return l == Persistent
}
