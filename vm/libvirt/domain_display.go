package libvirt

import (
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// display adds the screen, and who serves it on a socket that libvirt chooses a place for.
func (c *creator) display() {
	d := c.spec.Config.Display
	c.adapter(d.AdapterOn(c.host.arch, c.host.machine))
	if d.Type == "" || d.Type == vm.DisplayNone {
		return
	}
	if offered := c.host.caps.graphics; offered != nil && !slices.Contains(offered, d.Type) {
		c.problem("display.type", d.Type, "can't be had: the host's QEMU has it not", "install its part for it, or use another")
	}
	password, bad := guestview.DisplayPassword(d)
	if bad != nil {
		c.problem(bad.Field, bad.Value, bad.Message, bad.Fix)
	}
	if c.text("display.password_file", password) != password {
		return
	}
	listen := []libvirtxml.DomainGraphicListener{{Socket: &libvirtxml.DomainGraphicListenerSocket{}}}
	g := libvirtxml.DomainGraphic{}
	if d.Type == vm.DisplaySpice {
		g.Spice = &libvirtxml.DomainGraphicSpice{Listeners: listen, Passwd: password}
	} else {
		g.VNC = &libvirtxml.DomainGraphicVNC{Listeners: listen, Passwd: password}
	}
	c.dev.Graphics = append(c.dev.Graphics, g)
}

// adapter adds the graphics card.
func (c *creator) adapter(kind string) {
	model := map[string]string{vm.AdapterStd: "vga", vm.AdapterCirrus: "cirrus", vm.AdapterVirtio: "virtio",
		vm.AdapterQXL: "qxl", vm.AdapterRAMFB: "ramfb"}[kind]
	fits := true
	switch kind {
	case vm.AdapterNone:
		if d := c.spec.Config.Display; d.Type != "" && d.Type != vm.DisplayNone {
			c.dev.Videos = []libvirtxml.DomainVideo{{Model: libvirtxml.DomainVideoModel{Type: "none"}}} // or libvirt adds one
		}
		return
	case vm.AdapterStd, vm.AdapterCirrus, vm.AdapterQXL:
		fits = c.host.arch == "x86_64"
	case vm.AdapterRAMFB:
		fits = c.host.arch != "riscv64" // whose fw_cfg lacks DMA
	}
	if !fits {
		c.problem("display.adapter", kind, "can't be had on machine "+c.host.machine+" of "+c.host.arch+" with libvirt", `use "virtio"`)
	}
	video := libvirtxml.DomainVideo{Model: libvirtxml.DomainVideoModel{Type: model, Heads: 1, Primary: "yes"}, Alias: alias(vm.DeviceAdapter)}
	if kind != vm.AdapterRAMFB { // which is no PCI device
		video.Address = c.pci("display.adapter")
	}
	c.dev.Videos = append(c.dev.Videos, video)
}

// hidden stands for a password where a domain is shown.
const hidden = "********"

// shown returns a domain's XML as it may be logged: without passwords.
func shown(d *libvirtxml.Domain) (string, error) {
	copied := *d
	devices := *d.Devices
	copied.Devices = &devices
	devices.Graphics = slices.Clone(devices.Graphics)
	for i := range devices.Graphics {
		g := &devices.Graphics[i]
		if g.VNC != nil && g.VNC.Passwd != "" {
			vnc := *g.VNC
			vnc.Passwd, g.VNC = hidden, &vnc
		}
		if g.Spice != nil && g.Spice.Passwd != "" {
			spice := *g.Spice
			spice.Passwd, g.Spice = hidden, &spice
		}
	}
	return copied.Marshal()
}
