package vm

import "cmp"

// layer returns the image that external snapshots have put over a disk, "" if there is none.
func (i Instance) layer(disk string) string {
	for _, l := range i.Layers {
		if l.Disk == disk {
			return l.Path
		}
	}
	return ""
}

// Images returns the images of the reserved VM's disks, as they are now: what its guest uses,
// or the next start would. Plugged disks come after those of the configuration, and disks that
// are in Instance.Unplugged have only a name.
func (r *Reservation) Images() []Image {
	inst := r.Instance()
	images := inst.Config.PlannedImages(r.m.images.dir, inst.ID)
	for n := range images {
		img := &images[n]
		if layer := inst.layer(img.Name); layer != "" {
			img.Path, img.Format, img.Owned = layer, FormatQcow2, true
		}
		if inst.unplugged(img.Name) {
			*img = Image{Name: img.Name}
		}
	}
	for _, d := range inst.Plugged {
		if d.Disk != nil {
			images = append(images, Image{Name: d.ID, Path: cmp.Or(inst.layer(d.ID), d.Disk.Path),
				Format: d.Disk.Format, ReadOnly: d.Disk.ReadOnly})
		}
	}
	return images
}

// ImagesDir is the folder of the images that are made for the reserved VM.
func (r *Reservation) ImagesDir() string { return r.m.images.folder(r.Instance().ID) }
