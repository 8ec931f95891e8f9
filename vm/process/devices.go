package process

import (
	"fmt"

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
