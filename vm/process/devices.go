package process

import (
	"crypto/sha256"
	"fmt"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

func (b *builder) disks() {
	for i, d := range b.spec.Config.Disks {
		if !b.unplugged(d.NameAt(i)) {
			b.disk(i, d, b.spec.Images[i])
		}
	}
}

// disk adds two nodes and a device: the file, the format above it, and what the guest
// sees. The format node has the disk's name, by which QMP finds it.
func (b *builder) disk(i int, d vm.Disk, img vm.Image) {
	field, name := fmt.Sprintf("disks[%d]", i), d.NameAt(i)
	b.notReserved(field+".name", name)
	file := fmt.Sprintf("file%d", i)
	protocol := props{"driver": "file", "node-name": file, "filename": img.Path,
		"read-only": d.ReadOnly, "discard": "unmap"}
	format := props{"driver": img.Format, "node-name": name, "file": file, "read-only": d.ReadOnly, "discard": "unmap"}
	if img.Ephemeral {
		// What vanishes with the guest need not reach the disk.
		protocol["cache"] = props{"no-flush": true}
		format["cache"] = props{"no-flush": true}
	}
	b.json("blockdev", file, field, protocol)
	b.json("blockdev", name, field, format)

	device := props{"driver": b.virtio("blk"), "id": name, "drive": name}
	if d.Interface == "nvme" {
		if b.host.microvm() {
			b.problem(field+".interface", "nvme", "needs a PCI bus, which a microvm has not", "use virtio, or another machine")
		}
		device["driver"] = "nvme"
		device["serial"] = name // nvme refuses to be without
	}
	if d.Serial != "" {
		device["serial"] = d.Serial
	}
	if b.spec.Boot.Kernel == "" && d.HasImage() && !b.host.microvm() {
		device["bootindex"] = i
	}
	b.json("device", name, field, device)
}

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
