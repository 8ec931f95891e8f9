package vm

import (
	"fmt"
	"regexp"
	"strings"
)

// diskNamePattern leaves room for "-limit": QEMU's names of block nodes have at most 31
// characters (QEMU, block_int-common.h, node_name).
var diskNamePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,24}$`)

const (
	maxBootOrder = 999
	// maxThrottle is the most that QEMU can count (QEMU, throttle.h, THROTTLE_VALUE_MAX).
	maxThrottle = 1_000_000_000_000_000
)

func (v *validator) disks(disks []Disk) {
	seen := map[string]int{}
	for i, d := range disks {
		field := fmt.Sprintf("disks[%d]", i)
		name := d.NameAt(i)
		if !diskNamePattern.MatchString(name) {
			v.add(field+".name", name, "is not a valid name", "use a letter, then at most 24 letters, digits, '.', '_' and '-'")
		}
		if first, ok := seen[name]; ok {
			v.add(field+".name", name, fmt.Sprintf("is also the name of disks[%d]", first), "give each disk a name of its own")
		}
		seen[name] = i
		v.diskImage(field, d)
		v.diskKey(field, d)
		v.diskDevice(field, d)
		v.diskIO(field, d)
		v.throttle(field+".throttle", d)
	}
}

// diskImage checks what is behind the disk.
func (v *validator) diskImage(field string, d Disk) {
	v.text(field+".path", d.Path)
	v.text(field+".base", d.Base)
	v.text(field+".key_file", d.KeyFile)
	v.oneOf(field+".format", d.Format, FormatRaw, FormatQcow2)
	if d.Path != "" && d.Base != "" {
		v.add(field, "", "has both a path and a base", "give path to use an image in place, base to write to an overlay")
	}
	if d.HasImage() && d.ImageFormat() == "" {
		v.add(field+".format", "", "is not given, and the file's ending does not tell", `set it to "raw" or "qcow2", to which qemu-img convert turns other formats`)
	}
	if d.Size < 0 || d.Size%512 != 0 {
		v.add(field+".size", d.Size.String(), "is not a multiple of 512 bytes", "round it, for example to MiB")
	}
	switch {
	case d.Path != "" && d.Size != 0:
		v.add(field+".size", d.Size.String(), "can't change an image that is used in place", "leave it out, or use base")
	case !d.HasImage() && d.ReadOnly && !d.IsCDROM():
		v.add(field+".read_only", "", "makes no sense for a new, empty disk", "give a path or a base")
	case d.IsReadOnly() && d.Size != 0:
		v.add(field+".size", d.Size.String(), "makes no sense for what can't be written", "leave it out")
	case d.IsCDROM():
	case !d.HasImage() && d.Size == 0:
		v.add(field, "", "has neither a path, nor a base, nor a size", "give the image to use, or the size of a new one")
	}
}

// diskKey checks that there is something to encrypt, or to open.
func (v *validator) diskKey(field string, d Disk) {
	switch {
	case d.KeyFile == "":
	case d.emptyTray():
		v.add(field+".key_file", d.KeyFile, "opens nothing in an empty CD-ROM drive", "leave it out, or give a path")
	case d.inPlace() && d.ImageFormat() == FormatRaw:
		v.add(field+".key_file", d.KeyFile, "is for qcow2 images, and this one is raw", `leave it out, or encrypt the image with "qemu-img convert -O qcow2 -o encrypt.format=luks"`)
	}
}

// diskDevice checks what the guest sees. What the machine has is for the backend to say.
func (v *validator) diskDevice(field string, d Disk) {
	v.oneOf(field+".media", d.Media, MediaDisk, MediaCDROM)
	v.oneOf(field+".interface", d.Interface, InterfaceVirtio, InterfaceSCSI, InterfaceNVMe, InterfaceSATA, InterfaceIDE, InterfaceUSB)
	switch {
	case d.IsCDROM() && (d.Interface == InterfaceVirtio || d.Interface == InterfaceNVMe):
		v.add(field+".interface", d.Interface, "has no CD-ROMs", `use scsi, sata, ide or usb, or set media to "disk" and read_only`)
	case !d.IsCDROM() && d.ReadOnly && (d.Interface == InterfaceSATA || d.Interface == InterfaceIDE):
		v.add(field+".read_only", d.Interface, "is not known to disks of this interface", "use virtio, scsi, nvme or usb")
	}
	if len(d.Serial) > MaxSerial || strings.ContainsFunc(d.Serial, func(r rune) bool { return r < ' ' || r > '~' }) {
		v.add(field+".serial", d.Serial, "is not a serial number", fmt.Sprintf("use at most %d printable ASCII characters", MaxSerial))
	}
}

// diskIO checks how QEMU reads and writes the image.
func (v *validator) diskIO(field string, d Disk) {
	v.oneOf(field+".cache", d.Cache, CacheWriteBack, CacheNone, CacheWriteThrough, CacheDirectSync, CacheUnsafe)
	v.oneOf(field+".aio", d.AIO, AIOThreads, AIONative, AIOURing)
	v.oneOf(field+".discard", d.Discard, DiscardUnmap, DiscardIgnore)
	if d.AIO == AIONative && d.Cache != CacheNone && d.Cache != CacheDirectSync {
		v.add(field+".aio", d.AIO, "needs a cache that bypasses the host's", `set cache to "none" or "directsync", or use "threads"`)
	}
}

func (v *validator) throttle(field string, d Disk) {
	t := d.Throttle
	for _, b := range []struct {
		name  string
		value int64
	}{
		{"iops", t.IOPS}, {"read_iops", t.ReadIOPS}, {"write_iops", t.WriteIOPS},
		{"rate", int64(t.Rate)}, {"read_rate", int64(t.ReadRate)}, {"write_rate", int64(t.WriteRate)},
	} {
		if b.value < 0 || b.value > maxThrottle {
			v.add(field+"."+b.name, fmt.Sprint(b.value), "is out of range", "use a positive number up to 10^15, or leave it out")
		}
	}
	if t.IOPS != 0 && (t.ReadIOPS != 0 || t.WriteIOPS != 0) {
		v.add(field+".iops", fmt.Sprint(t.IOPS), "is given together with bounds of reads or writes", "give one for all, or one for each")
	}
	if t.Rate != 0 && (t.ReadRate != 0 || t.WriteRate != 0) {
		v.add(field+".rate", t.Rate.String(), "is given together with bounds of reads or writes", "give one for all, or one for each")
	}
	if t != (Throttle{}) && d.emptyTray() {
		v.add(field, "", "bounds nothing in an empty CD-ROM drive", "leave it out, or give a path")
	}
}

// bootOrder checks the places of disks and network cards in the order of booting, which
// QEMU takes once each.
func (v *validator) bootOrder(c Config) {
	seen := map[int]string{}
	place := func(field string, order int) {
		first, taken := seen[order]
		switch {
		case order == 0:
			return
		case order < 0 || order > maxBootOrder:
			v.add(field, fmt.Sprint(order), "is out of range", fmt.Sprintf("use 1 to %d, or leave it out", maxBootOrder))
		case taken:
			v.add(field, fmt.Sprint(order), "is also the place of "+first, "give each device a place of its own")
		}
		seen[order] = field
	}
	for i, d := range c.Disks {
		place(fmt.Sprintf("disks[%d].boot_order", i), d.BootOrder)
	}
	for i, n := range c.Networks {
		place(fmt.Sprintf("networks[%d].boot_order", i), n.BootOrder)
	}
}
