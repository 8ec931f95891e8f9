package process

import (
	"crypto/sha256"
	"fmt"

	"github.com/maqet/maqet/qmp"
)

func (b *builder) networks() {
	for i, n := range b.spec.Config.Networks {
		field, name := fmt.Sprintf("networks[%d]", i), n.NameAt(i)
		if b.unplugged(name) {
			continue
		}
		b.notReserved(field+".name", name)
		netdev := props{"type": "user", "id": name}
		var forwards []props
		for _, f := range n.Forwards {
			forwards = append(forwards, props{"str": qmp.Forward(f).Rule()})
		}
		if len(forwards) > 0 {
			netdev["hostfwd"] = forwards
		}
		b.json("netdev", name, field, netdev)
		mac := n.MAC
		if mac == "" {
			mac = macOf(b.spec.ID, i)
		}
		device := props{"driver": b.virtio("net"), "id": name, "netdev": name, "mac": mac}
		if !b.host.microvm() {
			device["romfile"] = "" // nobody boots from it, and loading it takes time
		}
		b.json("device", name, field, device)
	}
}

// macOf derives a MAC in QEMU's range from the VM's ID and the card's position: the
// same at each start, and another one for each VM.
func macOf(id string, index int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", id, index))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum[0], sum[1], sum[2])
}
