package process

import (
	"fmt"
	"slices"
	"strings"

	"github.com/maqet/maqet/vm"
)

// Controllers of disks, which are made when a disk needs them.
const (
	scsiController = "virtio-scsi"
	sataController = "ahci"
)

// How many disks fit on a bus.
const (
	maxIDE  = 4   // two channels with two disks each
	maxSATA = 6   // ports of an ich9-ahci
	maxSCSI = 256 // targets of a virtio-scsi; VIRTIO 1.2, section 5.6
)

// q35 reports whether the machine is one of QEMU's q35, which has SATA built in.
func (h hostFacts) q35() bool { return strings.HasPrefix(h.machine, "pc-q35-") }

// i440fx reports whether the machine is one of QEMU's pc, which has IDE built in.
func (h hostFacts) i440fx() bool { return strings.HasPrefix(h.machine, "pc-i440fx-") }

// diskInterface returns the disk's interface, or what it is on this machine by default.
func (b *builder) diskInterface(d vm.Disk) string {
	switch {
	case d.Interface != "":
		return d.Interface
	case !d.IsCDROM():
		return vm.InterfaceVirtio
	case b.host.q35():
		return vm.InterfaceSATA
	case b.host.i440fx():
		return vm.InterfaceIDE
	default:
		return vm.InterfaceSCSI
	}
}

// attach completes device with the driver and the bus.
func (b *builder) attach(a attachment, device props) {
	if b.host.microvm() && !slices.Contains([]string{vm.InterfaceVirtio, vm.InterfaceSCSI}, a.kind) {
		b.problem(a.field+".interface", a.kind, "needs a PCI bus, which a microvm has not", "use virtio or scsi, or another machine")
		device["driver"] = a.kind
		return
	}
	switch a.kind {
	case vm.InterfaceSCSI:
		b.onSCSI(a, device)
	case vm.InterfaceNVMe:
		device["driver"] = "nvme"
		if a.Serial == "" { // which it refuses to be without
			device["serial"] = a.name[:min(len(a.name), vm.MaxSerial)]
		}
	case vm.InterfaceSATA:
		b.onSATA(a, device)
	case vm.InterfaceIDE:
		b.onIDE(a, device)
	case vm.InterfaceUSB:
		b.onUSB(a, device)
	default:
		device["driver"] = b.virtio("blk")
	}
}

// fits reports a disk for which the bus has no place.
func (b *builder) fits(a attachment, places int, others string) {
	if a.slot >= places {
		b.problem(a.field+".interface", a.kind, fmt.Sprintf("has places for %d disks", places), "use "+others+" for the others")
	}
}

func hdOrCD(a attachment, bus string) string {
	if a.IsCDROM() {
		return bus + "-cd"
	}
	return bus + "-hd"
}

// controller adds a controller before the first disk that needs it.
func (b *builder) controller(id, field, driver string) {
	if !slices.ContainsFunc(b.args, func(a argument) bool { return a.option == "device" && a.id == id }) {
		b.json("device", id, field, props{"driver": driver, "id": id})
	}
}

func (b *builder) onSCSI(a attachment, device props) {
	b.fits(a, maxSCSI, vm.InterfaceVirtio)
	b.controller(scsiController, a.field, b.virtio("scsi"))
	device["driver"], device["bus"] = hdOrCD(a, "scsi"), scsiController+".0"
	device["scsi-id"], device["lun"] = a.slot, 0
}

// onSATA uses the machine's own controller, or adds one.
func (b *builder) onSATA(a attachment, device props) {
	b.fits(a, maxSATA, "scsi")
	bus := "ide" // as QEMU calls that of q35
	if !b.host.q35() {
		bus = sataController
		b.controller(sataController, a.field, "ich9-ahci")
	}
	device["driver"], device["bus"] = hdOrCD(a, "ide"), fmt.Sprintf("%s.%d", bus, a.slot)
}

func (b *builder) onIDE(a attachment, device props) {
	b.fits(a, maxIDE, "scsi")
	if !b.host.i440fx() {
		b.problem(a.field+".interface", a.kind, "is not on machine "+b.host.machine, "use sata, or machine pc")
	}
	device["driver"], device["bus"], device["unit"] = hdOrCD(a, "ide"), fmt.Sprintf("ide.%d", a.slot/2), a.slot%2
}

// onUSB makes a stick, or for a CD-ROM the two devices that it consists of (QEMU,
// docs/usb-storage.txt).
func (b *builder) onUSB(a attachment, device props) {
	bus := b.usbBus()
	if !a.IsCDROM() {
		device["driver"], device["bus"] = "usb-storage", bus
		return
	}
	bridge := a.name + "-usb"
	b.json("device", bridge, a.field, props{"driver": "usb-bot", "id": bridge, "bus": bus})
	device["driver"], device["bus"], device["scsi-id"], device["lun"] = "scsi-cd", bridge+".0", 0, 0
}
