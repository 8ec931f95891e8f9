package process

import (
	"fmt"
	"slices"
	"time"

	"github.com/maqet/maqet/qmp"
)

// socketTime bounds a look at whether somebody listens on a socket.
const socketTime = 5 * time.Second

// plugged adds the devices that were plugged while the VM ran, where they were: the same
// objects that qmp.Manager.AddDevice made.
func (b *builder) plugged() {
	for i, d := range b.spec.Plugged {
		field := fmt.Sprintf("plugged[%d]", i)
		if n, ours := portNumber(d.Bus); ours && n >= b.portCount() {
			b.problem("hotplug_ports", "", "has no "+d.Bus+", into which device "+d.ID+" was plugged", fmt.Sprintf("use at least %d", n+1))
		}
		for _, part := range d.Parts() {
			if part.Option == "chardev" {
				b.serialBackend(d, field)
				continue
			}
			b.json(part.Option, d.ID, field, part.Args)
		}
	}
}

// serialBackend is the chardev of a plugged serial port: -chardev takes no JSON.
func (b *builder) serialBackend(d qmp.Device, field string) {
	pairs := []string{"", "null", "id", d.ID}
	switch {
	case d.Serial.Socket != "":
		b.takesSocket(field+".serial.socket", d.Serial.Socket, "remove what is there, or the device "+d.ID)
		pairs = []string{"", "socket", "id", d.ID, "path", d.Serial.Socket, "server", "on", "wait", "off"}
	case d.Serial.File != "":
		pairs = []string{"", "file", "id", d.ID, "path", d.Serial.File, "append", "on"}
	}
	b.add(keyed("chardev", d.ID, field, pairs...))
}

// unplugged reports whether a device of the configuration was removed while the VM ran.
func (b *builder) unplugged(id string) bool { return slices.Contains(b.spec.Unplugged, id) }
