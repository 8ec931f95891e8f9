package libvirt

import (
	"cmp"
	"fmt"
	"maps"
	"strings"

	"github.com/maqet/maqet/internal/qemuarg"
)

type props = qemuarg.Props

// json adds an option of QEMU's for what libvirt can't express.
func (c *creator) json(option, field string, p props) {
	text, err := p.JSON()
	if err != nil {
		c.problem(field, "", err.Error(), "use values that JSON can express")
		return
	}
	c.raw = append(c.raw, "-"+option, text)
}

// The empty PCI Express ports for devices that are plugged later: how many, and where, is as
// in package vm/process. libvirt does not know of them, as it does not know of the devices
// that QMP plugs there by their names.
const (
	defaultPorts = 4
	portName     = "hotplug"
	portSlot     = 0x1c
	functions    = 8
	portChassis  = 200
)

func (c *creator) hotplugPorts() {
	n := cmp.Or(c.spec.Config.HotplugPorts, defaultPorts)
	if !c.host.pcie() {
		if c.spec.Config.HotplugPorts > 0 {
			c.problem("hotplug_ports", fmt.Sprint(n), "can't be had on machine "+c.host.machine, "leave it out, or use machine q35 or virt")
		}
		return
	}
	for i := range max(0, n) {
		port := props{"driver": "pcie-root-port", "id": fmt.Sprint(portName, i), "bus": "pcie.0", "chassis": portChassis + i,
			"addr": fmt.Sprintf("%x.%x", portSlot-i/functions, i%functions)}
		if i%functions == 0 && n > i+1 {
			port["multifunction"] = true
		}
		c.json("device", "hotplug_ports", port)
	}
}

// otherDevices adds Config.Devices, which go to QEMU as they are, but for the names of buses
// that libvirt has others for.
func (c *creator) otherDevices() {
	for i, d := range c.spec.Config.Devices {
		id := d.IDAt(i)
		if c.unplugged(id) {
			continue
		}
		p := props{"driver": d.Driver, "id": id}
		maps.Copy(p, d.Props)
		if bus, ok := p["bus"].(string); ok {
			p["bus"] = busOf(bus)
		}
		c.json("device", fmt.Sprintf("devices[%d]", i), p)
	}
}

// busOf returns what a bus is called that package vm/process calls bus.
func busOf(bus string) string {
	switch controller, n, _ := strings.Cut(bus, "."); controller {
	case "usb", "virtio-serial", "virtio-scsi", "ahci":
		return aliasOf(controller) + "." + n
	}
	return bus
}

// plugged adds the devices that were plugged while the VM ran, where they were.
func (c *creator) plugged() {
	for i, d := range c.spec.Plugged {
		field := fmt.Sprintf("plugged[%d]", i)
		for _, part := range d.Parts() {
			if part.Option == "chardev" { // which takes no JSON
				c.pluggedSerial(d.ID, d.Serial.Socket, d.Serial.File)
				continue
			}
			c.json(part.Option, field, part.Args)
		}
	}
}

func (c *creator) pluggedSerial(id, socket, file string) {
	value := "null,id=" + qemuarg.Escape(id)
	switch {
	case socket != "":
		value = "socket,id=" + qemuarg.Escape(id) + ",path=" + qemuarg.Escape(socket) + ",server=on,wait=off"
	case file != "":
		value = "file,id=" + qemuarg.Escape(id) + ",path=" + qemuarg.Escape(file) + ",append=on"
	}
	c.raw = append(c.raw, "-chardev", c.text("plugged", value))
}

// arguments adds Config.Args. Whether they collide with libvirt's is for QEMU to say, except
// where QEMU would slip out of libvirt's hands.
func (c *creator) arguments() {
	for i, word := range c.spec.Config.Args {
		field := fmt.Sprintf("args[%d]", i)
		option := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
		if why, no := qemuarg.Refused[option]; no && strings.HasPrefix(word, "-") {
			c.problem(field, word, "can't be used: "+why, "remove it")
		}
		c.raw = append(c.raw, c.text(field, word))
	}
}
