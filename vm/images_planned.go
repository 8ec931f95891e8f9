package vm

import "path/filepath"

// PlannedImages returns the images that a start of the VM with this ID would use, one for
// each of Disks, without looking at or making any. dir is the folder of the images that the
// manager makes.
func (c Config) PlannedImages(dir, id string) []Image {
	images := make([]Image, 0, len(c.Disks))
	for i, d := range c.Disks {
		img := Image{Name: d.NameAt(i)}
		switch {
		case d.inPlace():
			img.Path, img.Format, img.ReadOnly = d.Path+d.Base, d.ImageFormat(), d.IsReadOnly()
			img.Encrypted = d.KeyFile != ""
		case d.Base == "" && d.Media == MediaCDROM: // an empty tray
		default:
			img.Path, img.Format = filepath.Join(dir, id, imageName(img.Name)), FormatQcow2
			img.Owned, img.Ephemeral, img.Encrypted = true, !d.keeps(c.lifetime()), d.KeyFile != ""
		}
		images = append(images, img)
	}
	return images
}

// PlannedSeed returns the path of the image that a start of the VM would make of CloudInit;
// empty: there would be none.
func (c Config) PlannedSeed(dir, id string) string {
	if c.CloudInit == nil {
		return ""
	}
	return filepath.Join(dir, id, seedFile)
}
