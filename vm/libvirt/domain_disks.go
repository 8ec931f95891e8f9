package libvirt

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// How many disks fit on a bus.
const (
	maxIDE  = 4   // two channels with two disks each
	maxSATA = 6   // ports of an ich9-ahci
	maxSCSI = 256 // targets of a virtio-scsi; VIRTIO 1.2, section 5.6
)

// disks adds the disks. One that was removed while the VM ran keeps its place on its bus and
// in the boot order.
func (c *creator) disks() {
	order := guestview.BootIndexes(c.spec.Config, c.spec.Boot.Kernel == "")
	taken := map[string]int{}
	for i, d := range c.spec.Config.Disks {
		kind := c.diskInterface(d)
		slot := taken[kind]
		taken[kind]++
		if c.unplugged(d.NameAt(i)) {
			continue
		}
		a := attachment{Disk: d, field: fmt.Sprintf("disks[%d]", i), name: d.NameAt(i), kind: kind, slot: slot}
		disk := c.disk(a, c.spec.Images[i])
		if order[i] > 0 {
			disk.Boot = &libvirtxml.DomainDeviceBoot{Order: uint(order[i])}
		}
		c.attach(a, &disk)
		c.dev.Disks = append(c.dev.Disks, disk)
	}
}

// attachment is a disk with its place in the guest.
type attachment struct {
	vm.Disk
	field string // in the configuration
	name  string
	kind  string // vm.InterfaceVirtio, ...
	slot  int    // which disk of its kind it is
}

// diskInterface returns the disk's interface, or what it is on this machine by default.
func (c *creator) diskInterface(d vm.Disk) string {
	switch {
	case d.Interface != "":
		return d.Interface
	case !d.IsCDROM():
		return vm.InterfaceVirtio
	case c.host.q35():
		return vm.InterfaceSATA
	case c.host.i440fx():
		return vm.InterfaceIDE
	default:
		return vm.InterfaceSCSI
	}
}

// disk returns the disk without its place.
func (c *creator) disk(a attachment, img vm.Image) libvirtxml.DomainDisk {
	disk := libvirtxml.DomainDisk{Device: "disk", Alias: alias(a.name), Serial: c.diskSerial(a),
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: cmp.Or(img.Format, vm.FormatRaw), IO: a.AIO}}
	if a.IsCDROM() {
		disk.Device = "cdrom"
	}
	if a.IsReadOnly() {
		disk.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
	}
	if img.Path == "" { // an empty tray
		return disk
	}
	disk.Driver.Discard = cmp.Or(a.Discard, vm.DiscardUnmap) // QEMU's own default is to ignore it
	if disk.Driver.Cache = a.Cache; a.Cache == "" && img.Ephemeral {
		disk.Driver.Cache = vm.CacheUnsafe // what vanishes with the guest need not reach the disk
	}
	disk.Source = c.source(a.field+".path", img.Path, img.Device)
	if img.Encrypted {
		disk.Source.Encryption = c.encryption(a)
	}
	if len(img.Bases) > 0 {
		disk.BackingStore = c.bases(a, img.Bases)
	}
	disk.IOTune = limits(a.Throttle)
	return disk
}

// serialPattern is what libvirt 9.0 takes as it is; a space arrives as a backslash and a space.
var serialPattern = regexp.MustCompile(`^[A-Za-z0-9_.+-]*$`)

func (c *creator) diskSerial(a attachment) string {
	if !serialPattern.MatchString(a.Serial) {
		c.problem(a.field+".serial", a.Serial, "has characters that libvirt does not take", "use letters, digits, '_', '.', '+' and '-'")
	}
	return a.Serial
}

func (c *creator) source(field, path string, device bool) *libvirtxml.DomainDiskSource {
	path = c.absolute(field, path)
	if device {
		return &libvirtxml.DomainDiskSource{Block: &libvirtxml.DomainDiskSourceBlock{Dev: path}}
	}
	return &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}}
}

// bases describes the images below a disk's. libvirt would find them by itself, and have no
// key for those that are encrypted.
func (c *creator) bases(a attachment, bases []storage.Image) *libvirtxml.DomainDiskBackingStore {
	node := &libvirtxml.DomainDiskBackingStore{} // the end
	for _, img := range slices.Backward(bases) {
		over := &libvirtxml.DomainDiskBackingStore{Format: &libvirtxml.DomainDiskFormat{Type: img.Format},
			Source: c.source(a.field+".base", img.Path, img.Device), BackingStore: node}
		if img.Encrypted {
			over.Source.Encryption = c.encryption(a)
		}
		node = over
	}
	return node
}

// encryption says which of libvirt's secrets opens an image; see secretsOf.
func (c *creator) encryption(a attachment) *libvirtxml.DomainDiskEncryption {
	if a.KeyFile == "" {
		c.problem(a.field+".key_file", "", "is not given, and the disk's image is encrypted", "give the path of a file with its passphrase")
	}
	return &libvirtxml.DomainDiskEncryption{Format: "luks",
		Secrets: []libvirtxml.DomainDiskSecret{{Type: "passphrase", UUID: secretID(c.spec.ID, a.name)}}}
}

// limits bounds what the guest can do with a disk.
func limits(t vm.Throttle) *libvirtxml.DomainDiskIOTune {
	if t == (vm.Throttle{}) {
		return nil
	}
	return &libvirtxml.DomainDiskIOTune{
		TotalIopsSec: uint64(t.IOPS), ReadIopsSec: uint64(t.ReadIOPS), WriteIopsSec: uint64(t.WriteIOPS),
		TotalBytesSec: uint64(t.Rate), ReadBytesSec: uint64(t.ReadRate), WriteBytesSec: uint64(t.WriteRate),
	}
}

// attach gives a disk its place. libvirt knows disks by what a guest might call them.
func (c *creator) attach(a attachment, d *libvirtxml.DomainDisk) {
	d.Target = &libvirtxml.DomainDiskTarget{Bus: a.kind, Dev: c.targetName(a.kind)}
	place := func(bus, target, unit int) {
		d.Address = &libvirtxml.DomainAddress{Drive: &libvirtxml.DomainAddressDrive{
			Controller: ptr(uint(0)), Bus: ptr(uint(bus)), Target: ptr(uint(target)), Unit: ptr(uint(unit))}}
	}
	switch a.kind {
	case vm.InterfaceSCSI:
		c.fits(a, maxSCSI, vm.InterfaceVirtio)
		c.controller(a.field, libvirtxml.DomainController{Type: "scsi", Model: "virtio-scsi", Alias: alias("virtio-scsi")})
		place(0, a.slot, 0)
	case vm.InterfaceSATA:
		c.fits(a, maxSATA, vm.InterfaceSCSI)
		if !c.host.q35() { // which has one
			c.controller(a.field, libvirtxml.DomainController{Type: "sata", Alias: alias("ahci")})
		}
		place(0, 0, a.slot)
	case vm.InterfaceIDE:
		c.fits(a, maxIDE, vm.InterfaceSCSI)
		if !c.host.i440fx() {
			c.problem(a.field+".interface", a.kind, "is not on machine "+c.host.machine, "use sata, or machine pc")
		}
		place(a.slot/2, 0, a.slot%2)
	case vm.InterfaceUSB:
		c.usb(a.field)
		if a.IsCDROM() {
			c.problem(a.field+".interface", a.kind, "can't be had for a CD-ROM: libvirt 9.0 makes a disk of it", "use scsi, or leave it out")
		}
	case vm.InterfaceNVMe:
		c.problem(a.field+".interface", a.kind, "can't be had: libvirt 9.0 has no NVMe disks", "use virtio or scsi")
	default:
		d.Address = c.pci(a.field)
	}
}

// targetName returns the next name of a disk on such a bus.
func (c *creator) targetName(kind string) string {
	prefix := map[string]string{vm.InterfaceVirtio: "vd", vm.InterfaceIDE: "hd"}
	of := func(kind string) string { return cmp.Or(prefix[kind], "sd") }
	n := 0
	for _, d := range c.dev.Disks {
		if of(d.Target.Bus) == of(kind) {
			n++
		}
	}
	return of(kind) + letters(n)
}

// letters counts as Linux does for disks: a to z, aa, ab, ...
func letters(n int) string {
	s := ""
	for n++; n > 0; n = (n - 1) / 26 {
		s = string(rune('a'+(n-1)%26)) + s
	}
	return s
}

// fits reports a disk for which the bus has no place.
func (c *creator) fits(a attachment, places int, others string) {
	if a.slot >= places {
		c.problem(a.field+".interface", a.kind, fmt.Sprintf("has places for %d disks", places), "use "+others+" for the others")
	}
}

// controller adds a PCI controller before the first device that needs it.
func (c *creator) controller(field string, want libvirtxml.DomainController) {
	if slices.ContainsFunc(c.dev.Controllers, func(have libvirtxml.DomainController) bool { return have.Type == want.Type }) {
		return
	}
	want.Index, want.Address = ptr(uint(0)), c.pci(field)
	c.dev.Controllers = append(c.dev.Controllers, want)
}

// usb adds the USB controller before the first device that needs it.
func (c *creator) usb(field string) {
	c.controller(field, libvirtxml.DomainController{Type: "usb", Model: "qemu-xhci", Alias: alias("usb")})
}

// seed adds the image for cloud-init, as a read-only virtio disk, which kernels for virtual
// machines have a driver for when cloud-init looks for it.
func (c *creator) seed() {
	if c.spec.Config.CloudInit == nil {
		return
	}
	const field = "cloud_init"
	c.dev.Disks = append(c.dev.Disks, libvirtxml.DomainDisk{Device: "disk", Alias: alias(guestview.Seed), Serial: guestview.Seed,
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: vm.FormatRaw}, ReadOnly: &libvirtxml.DomainDiskReadOnly{},
		Source: c.source(field, c.spec.Seed, false), Address: c.pci(field),
		Target: &libvirtxml.DomainDiskTarget{Bus: vm.InterfaceVirtio, Dev: c.targetName(vm.InterfaceVirtio)}})
}
