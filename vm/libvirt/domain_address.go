package libvirt

import (
	"fmt"

	"libvirt.org/go/libvirtxml"
)

// slots gives away the slots of the root PCI bus, as QEMU does where nobody says which:
// devices get the places that they would have without libvirt. It would put each behind a port
// of its own, which takes time at each boot.
type slots struct {
	next, end uint
	pcie      bool
}

// slotsOf returns the slots that are free. Slot 0 is the bus's own; a pc has its chipset in
// slot 1, a q35 in the last one. The ports for devices that are plugged later are below that;
// see hotplugPorts.
func slotsOf(f facts) slots {
	s := slots{next: 1, end: 0x19, pcie: f.pcie()}
	if f.i440fx() {
		s.next, s.end = 2, 0x1f
	}
	return s
}

// slot returns the number of the next free one.
func (c *creator) slot(field string) uint {
	n := c.slots.next
	if c.slots.next++; n == c.slots.end {
		c.problem(field, "", fmt.Sprintf("is more than the machine has room for: %d devices fit on its bus", n), "remove some devices, or use scsi for disks")
	}
	return n
}

// pci returns the address of the next device on the root bus.
func (c *creator) pci(field string) *libvirtxml.DomainAddress {
	return &libvirtxml.DomainAddress{PCI: &libvirtxml.DomainAddressPCI{
		Domain: ptr(uint(0)), Bus: ptr(uint(0)), Slot: ptr(c.slot(field)), Function: ptr(uint(0))}}
}

// rootBus is what QEMU calls the root bus.
func (s slots) rootBus() string {
	if s.pcie {
		return "pcie.0"
	}
	return "pci.0"
}

// place adds the next place on the root bus to the properties of a device that libvirt does
// not know.
func (c *creator) place(field string, p props) props {
	p["bus"], p["addr"] = c.slots.rootBus(), fmt.Sprintf("%x", c.slot(field))
	return p
}
