package libvirt

import (
	"fmt"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// console is the first serial port. libvirt's streams reach a pseudo-terminal on every host.
func (c *creator) console() {
	if c.spec.Config.Console.Disabled {
		return
	}
	port := libvirtxml.DomainSerial{Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: c.systemSerial(0), Alias: alias(vm.ChannelConsole)}
	c.dev.Serials = append(c.dev.Serials, port)
	c.dev.Consoles = append(c.dev.Consoles, libvirtxml.DomainConsole{
		Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: &libvirtxml.DomainConsoleTarget{Type: "serial", Port: ptr(uint(0))}})
}

// systemSerial is a serial port that the machine has by itself.
func (c *creator) systemSerial(n uint) *libvirtxml.DomainSerialTarget {
	t := &libvirtxml.DomainSerialTarget{Type: "isa-serial", Port: &n}
	switch c.host.arch {
	case "aarch64":
		t.Type, t.Model = "system-serial", &libvirtxml.DomainSerialTargetModel{Name: "pl011"}
	case "riscv64":
		t.Type, t.Model = "system-serial", &libvirtxml.DomainSerialTargetModel{Name: "16550a"}
	}
	return t
}

// channels are the virtio ports of the agent and of maqet's own init. libvirt makes their
// sockets, opens the agent's itself, and hands the others out as streams.
func (c *creator) channels() {
	for _, p := range guestview.Ports(c.spec) {
		c.port("agent", p.Channel, p.Name, libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}})
	}
}

// port adds a virtio port; before the first of them, its controller.
func (c *creator) port(field, name, inGuest string, source libvirtxml.DomainChardevSource) {
	if len(c.dev.Channels) == 0 {
		c.dev.Controllers = append(c.dev.Controllers, libvirtxml.DomainController{Type: "virtio-serial", Index: ptr(uint(0)),
			Alias: alias("virtio-serial"), Address: c.pci(field)})
	}
	c.dev.Channels = append(c.dev.Channels, libvirtxml.DomainChannel{Source: &source, Alias: alias(name),
		Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: c.text(field+".name", inGuest)}},
		Address: &libvirtxml.DomainAddress{VirtioSerial: &libvirtxml.DomainAddressVirtioSerial{
			Controller: ptr(uint(0)), Bus: ptr(uint(0)), Port: ptr(uint(len(c.dev.Channels) + 1))}}})
}

// serials adds the serial ports besides the console.
func (c *creator) serials() {
	isa := uint(0)
	for i, s := range c.spec.Config.Serials {
		field, name := fmt.Sprintf("serials[%d]", i), s.NameAt(i)
		if s.Kind() == vm.SerialVirtio && c.unplugged(name) {
			continue
		}
		source := c.serialSource(field, s)
		if s.Kind() == vm.SerialVirtio {
			if !c.spec.Config.Agent.Disabled && (name == guestview.AgentPort || strings.HasPrefix(name, guestview.OwnPorts)) {
				c.problem(field+".name", name, "is the name of a port by which the guest itself is reached", "use another, or disable agent")
			}
			c.port(field, name, name, source)
			continue
		}
		isa++ // the first is the console's, also where that is disabled
		port := libvirtxml.DomainSerial{Source: &source, Alias: alias(name), Target: &libvirtxml.DomainSerialTarget{Type: "isa-serial", Port: ptr(isa)}}
		if c.host.arch != "x86_64" {
			port.Target = &libvirtxml.DomainSerialTarget{Type: "pci-serial", Port: ptr(isa)}
			port.Address = c.pci(field)
		}
		c.dev.Serials = append(c.dev.Serials, port)
	}
}

// serialSource is what is behind a port.
func (c *creator) serialSource(field string, s vm.Serial) libvirtxml.DomainChardevSource {
	switch {
	case s.Socket == vm.SerialSocketAuto && s.Kind() == vm.SerialVirtio:
		return libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}}
	case s.Socket == vm.SerialSocketAuto:
		c.problem(field+".socket", s.Socket, "can't be had: libvirt chooses places for virtio ports only", `set type to "virtio"`)
	case s.Socket != "":
		c.problem(field+".socket", s.Socket, "can't be had: libvirt would remove what is there, and let others connect", `use "auto"`)
	case s.File != "":
		return libvirtxml.DomainChardevSource{File: &libvirtxml.DomainChardevSourceFile{Path: c.output(field+".file", s.File), Append: "on"}}
	case s.PTY:
		return libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}}
	}
	return libvirtxml.DomainChardevSource{Null: &libvirtxml.DomainChardevSourceNull{}}
}
