package process

import (
	"slices"

	"github.com/maqet/maqet/storage"
)

// keyObject is the ID of the secret that opens a disk's images (QEMU manual, "Providing secret
// data"). What is made for the disk while it runs, such as overlays, can use it as well.
func keyObject(disk string) string { return disk + "-key" }

// key adds the secret of a disk: QEMU gets the path, and reads the file itself.
func (b *builder) key(a attachment) {
	if a.KeyFile == "" {
		b.problem(a.field+".key_file", "", "is not given, and the disk's image is encrypted", "give the path of a file with its passphrase")
		return
	}
	b.json("object", keyObject(a.name), a.field+".key_file", props{"qom-type": "secret", "id": keyObject(a.name), "format": "raw",
		"file": b.absolute(a.field+".key_file", a.KeyFile)})
}

// encryption is how the format's node opens an encrypted image.
func encryption(disk string) props { return props{"format": "luks", "key-secret": keyObject(disk)} }

// basesOf is the node of the first of these images, with those below it inside. QEMU would
// find them by itself, and have no key for those that are encrypted.
func basesOf(disk string, bases []storage.Image) props {
	var node props
	for _, img := range slices.Backward(bases) {
		file := props{"driver": "file", "filename": img.Path}
		if img.Device {
			file["driver"] = "host_device"
		}
		over := props{"driver": img.Format, "file": file, "read-only": true}
		if img.Encrypted {
			over["encrypt"] = encryption(disk)
		}
		if node != nil {
			over["backing"] = node
		}
		node = over
	}
	return node
}
