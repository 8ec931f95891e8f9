package vm

import (
	"fmt"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// secrets are the keys of the disk's images.
func (d Disk) secrets() []storage.Secret {
	if d.KeyFile == "" {
		return nil
	}
	return []storage.Secret{{File: d.KeyFile}}
}

// encryption is how an image that is made for the disk is encrypted.
func (d Disk) encryption() *storage.Encryption {
	if d.KeyFile == "" {
		return nil
	}
	return &storage.Encryption{Secret: storage.Secret{File: d.KeyFile}}
}

// key checks the file with a disk's key.
func (c *imageCheck) key(field string, d Disk) {
	for _, s := range d.secrets() {
		var bad *storage.SecretError
		if err := s.Check(); errors.As(err, &bad) {
			c.problems = append(c.problems, errors.Problem{Field: field + ".key_file", Value: d.KeyFile, Message: bad.Msg, Fix: bad.Fix, Err: bad})
		}
	}
}

// encrypted notes what of a disk's image QEMU needs the key for. One that is not encrypted
// while there is a key is refused: what the guest writes would lie open, and nobody know.
func (c *imageCheck) encrypted(field string, d Disk, img *plannedImage, layers []storage.Image) {
	if len(layers) == 0 {
		return
	}
	img.Encrypted, img.Bases = layers[0].Encrypted, encryptedBases(layers[1:])
	if d.KeyFile != "" && !img.Encrypted {
		c.problems = append(c.problems, errors.Problem{Field: field, Value: img.Path,
			Message: fmt.Sprintf("is not encrypted, and the disk has a key_file (%s)", d.KeyFile),
			Fix:     `leave key_file out, or encrypt the image with "qemu-img convert -O qcow2 -o encrypt.format=luks"`})
	}
}

// encryptedBases returns the images if one of them is encrypted.
func encryptedBases(layers []storage.Image) []storage.Image {
	if slices.ContainsFunc(layers, func(l storage.Image) bool { return l.Encrypted }) {
		return layers
	}
	return nil
}
