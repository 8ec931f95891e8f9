package vm

// layer returns the image that external snapshots have put over a disk, "" if there is none.
func (i Instance) layer(disk string) string {
	for _, l := range i.Layers {
		if l.Disk == disk {
			return l.Path
		}
	}
	return ""
}

// Images returns the images of the disks of an instance, as it was read: what its guest uses, or
// the next start would. Plugged disks come after those of the configuration, and of disks that
// are in Instance.Unplugged, and empty CD-ROM drives, there is only the name. It looks at no
// image: those that a start makes may not be there yet.
func (m *Manager) Images(inst Instance) []Image {
	images := inst.Config.PlannedImages(m.images.dir, inst.ID)
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
		if d.Disk == nil {
			continue
		}
		img := Image{Name: d.ID, Path: d.Disk.Path, Format: d.Disk.Format, ReadOnly: d.Disk.ReadOnly}
		if layer := inst.layer(d.ID); layer != "" {
			img.Path, img.Format, img.Owned = layer, FormatQcow2, true
		}
		images = append(images, img)
	}
	return images
}

// Images is [Manager.Images] of the reserved VM as it is now.
func (r *Reservation) Images() []Image { return r.m.Images(r.Instance()) }

// ImagesDir is the folder of the images that are made for the reserved VM.
func (r *Reservation) ImagesDir() string { return r.m.images.folder(r.Instance().ID) }
