package libvirt

import (
	"net/netip"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// networks adds each card and what is behind it.
func (c *creator) networks() {
	for _, card := range guestview.Cards(c.spec.Config, c.spec.Unplugged) {
		model := c.cardModel(card)
		if card.Capture != "" {
			c.problem(card.Field+".capture", card.Capture, "can't be had: libvirt hands QEMU no file to write packets to", "capture on the host, or leave it out")
		}
		if card.TypeOf() == vm.NetworkNone {
			c.unconnected(card, model)
			continue
		}
		nic := libvirtxml.DomainInterface{
			MAC: &libvirtxml.DomainInterfaceMAC{Address: card.MACOf(c.spec.ID)}, Model: &libvirtxml.DomainInterfaceModel{Type: model},
			Source: &libvirtxml.DomainInterfaceSource{}, Alias: alias(card.Name), Address: c.pci(card.Field)}
		if card.BootOrder > 0 {
			nic.Boot = &libvirtxml.DomainDeviceBoot{Order: uint(card.BootOrder)}
		} else {
			nic.ROM = &libvirtxml.DomainROM{Enabled: "no"} // nobody boots from it, and loading it takes time
		}
		if card.LinkDown {
			nic.Link = &libvirtxml.DomainInterfaceLink{State: "down"}
		}
		c.cable(card, &nic)
		c.dev.Interfaces = append(c.dev.Interfaces, nic)
	}
}

// notPCI are the cards that are not PCI devices.
var notPCI = []string{"usb-net", "ne2k_isa"}

func (c *creator) cardModel(card guestview.Card) string {
	if card.Model == "" {
		return vm.ModelVirtio
	}
	if slices.Contains(notPCI, card.Model) {
		c.problem(card.Field+".model", card.Model, "can't be had: libvirt has PCI cards only", "use virtio, e1000e or rtl8139")
	}
	return c.text(card.Field+".model", card.Model)
}

// cable is what is behind a card.
func (c *creator) cable(card guestview.Card, nic *libvirtxml.DomainInterface) {
	switch kind := card.TypeOf(); kind {
	case vm.NetworkUser:
		c.userNetwork(card, nic)
	case vm.NetworkTap:
		nic.Source.Ethernet = &libvirtxml.DomainInterfaceSourceEthernet{}
		nic.Target = &libvirtxml.DomainInterfaceTarget{Dev: c.text(card.Field+".interface", card.Interface), Managed: "no"}
	case vm.NetworkBridge:
		nic.Source.Bridge = &libvirtxml.DomainInterfaceSourceBridge{Bridge: c.text(card.Field+".interface", card.Interface)}
	case vm.NetworkPasst:
		nic.Source.User = &libvirtxml.DomainInterfaceSourceUser{}
		c.problem(card.Field+".type", kind, "can't be had: libvirt can't tell passt the gateway and name server that guests are told of", "use type user")
	default:
		nic.Source.User = &libvirtxml.DomainInterfaceSourceUser{}
		c.problem(card.Field+".type", kind, `can't be had: libvirt's guests can't join maqet's segments`, `use type bridge with a bridge of the host, or backend "process"`)
	}
}

// userNetwork is QEMU's. Its forwards are added when the guest is there; see addForwards.
func (c *creator) userNetwork(card guestview.Card, nic *libvirtxml.DomainInterface) {
	nic.Source.User = &libvirtxml.DomainInterfaceSourceUser{}
	if card.Restrict {
		c.problem(card.Field+".restrict", "true", "can't be had: libvirt has no such networks", `leave it out, or use backend "process"`)
	}
	if prefix, err := netip.ParsePrefix(card.Subnet); err == nil {
		nic.IP = []libvirtxml.DomainInterfaceIP{{Family: "ipv4", Address: prefix.Addr().String(), Prefix: uint(prefix.Bits())}}
	}
}

// unconnected adds a card without a cable, which libvirt has not.
func (c *creator) unconnected(card guestview.Card, model string) {
	if model == vm.ModelVirtio {
		model = "virtio-net-pci"
	}
	device := props{"driver": model, "id": aliasOf(card.Name), "mac": card.MACOf(c.spec.ID)}
	if card.BootOrder > 0 {
		device["bootindex"] = card.BootOrder
	} else {
		device["romfile"] = ""
	}
	c.json("device", card.Field, c.place(card.Field, device))
}
