package process

import "github.com/maqet/maqet/internal/guestview"

// seedID is the ID of the disk that holds the image for cloud-init.
const seedID = guestview.Seed

// seed adds the image for cloud-init, as a read-only virtio disk: cloud-init looks for its
// label on every block device, and before anything else has started. A kernel for virtual
// machines has the driver of virtio disks at that time, because it boots from one; Debian's
// cloud kernel has none at all for a CD-ROM on SATA or IDE.
func (b *builder) seed() {
	if b.spec.Config.CloudInit == nil {
		return
	}
	const field, file = "cloud_init", seedID + "-file"
	b.json("blockdev", file, field, props{"driver": "file", "node-name": file, "filename": b.spec.Seed, "read-only": true})
	b.json("blockdev", seedID, field, props{"driver": "raw", "node-name": seedID, "file": file, "read-only": true})
	b.json("device", seedID, field, props{"driver": b.virtio("blk"), "id": seedID, "drive": seedID, "serial": seedID})
}
