package vm

import (
	"context"
	"slices"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
)

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
//
// Where those of an [ImageHost] are is known once the VM was started: until then those that are
// made have no path.
func (m *Manager) Images(inst Instance) []Image {
	images := inst.Config.PlannedImages(string(m.imageDir), inst.ID)
	if b, err := m.backend(inst); err == nil && hostImages(b) != nil {
		images = hostedImages(images, inst)
	}
	for n := range images {
		img := &images[n]
		if layer := inst.layer(img.Name); layer != "" {
			img.Path, img.Format, img.Owned = layer, FormatQcow2, true
		}
		if inst.unplugged(img.Name) {
			*img = Image{Name: img.Name}
		}
	}
	for _, d := range inst.layeredPlugged() {
		if d.Disk != nil {
			images = append(images, Image{Name: d.ID, Path: d.Disk.Path, Format: d.Disk.Format,
				ReadOnly: d.Disk.ReadOnly, Owned: inst.layer(d.ID) != ""})
		}
	}
	return images
}

// Images is [Manager.Images] of the reserved VM as it is now.
func (r *Reservation) Images() []Image { return r.m.Images(r.Instance()) }

// Originals returns the images that the disks would have without external snapshots, in the
// order of [Reservation.Images].
func (r *Reservation) Originals() []Image {
	inst := r.Instance()
	inst.Layers = nil
	return r.m.Images(inst)
}

// ImagesDir is the folder of the images that are made for the VM with this ID. It need not exist.
// Those of an [ImageHost] are elsewhere.
func (m *Manager) ImagesDir(id string) string { return m.imageDir.path(id, "") }

// ImagesDir is the folder of the images that are made for the reserved VM.
func (r *Reservation) ImagesDir() string { return r.m.ImagesDir(r.Instance().ID) }

// layeredPlugged returns the plugged devices as a start makes them: with the layers of those
// that are disks.
func (i Instance) layeredPlugged() []qmp.Device {
	out := slices.Clone(i.Plugged)
	for n, d := range out {
		if path := i.layer(d.ID); d.Disk != nil && path != "" {
			out[n] = d.Clone()
			out[n].Disk.Path, out[n].Disk.Format = path, FormatQcow2
		}
	}
	return out
}

// lastingLayers returns the layers without those of disks that vanish with the guest.
func (i Instance) lastingLayers() []Layer {
	return slices.DeleteFunc(slices.Clone(i.Layers), func(l Layer) bool { return i.Config.vanishes(l.Disk) })
}

// TakeLayers records the layers that a backend says the disks of the reserved VM are written in.
func (r *Reservation) TakeLayers(ctx context.Context, backend Snapshotter) error {
	inst := r.Instance()
	layers, err := backend.SnapshotLayers(ctx, inst)
	if err != nil || slices.Equal(layers, inst.Layers) {
		return err
	}
	return r.Update(ctx, func(i *Instance) { i.Layers = layers })
}

func withoutLayer(list []Layer, disk string) []Layer {
	return slices.DeleteFunc(slices.Clone(list), func(l Layer) bool { return l.Disk == disk })
}

// vanishes reports whether what is written to a disk goes with the guest.
func (c Config) vanishes(disk string) bool {
	d, ok := c.disk(disk)
	return ok && !d.inPlace() && !d.keeps(c.lifetime())
}

// ownsImageOf reports whether the image of a disk is made for the VM; false where the disk
// is not known.
func (c Config) ownsImageOf(disk string) bool {
	d, ok := c.disk(disk)
	return ok && !d.inPlace()
}

func (c Config) disk(name string) (Disk, bool) {
	if i := c.diskIndex(name); i >= 0 {
		return c.Disks[i], true
	}
	return Disk{}, false
}

// diskIndex returns the place of a disk, -1 if there is none of that name.
func (c Config) diskIndex(name string) int {
	for i, d := range c.Disks {
		if d.NameAt(i) == name {
			return i
		}
	}
	return -1
}

// releaseLayers deletes what external snapshots have put over the disks of a guest that is
// gone, where they vanish with it.
func (k *imageKeeper) releaseLayers(ctx context.Context, inst Instance) error {
	if !slices.ContainsFunc(inst.Config.Disks, func(d Disk) bool { return !d.inPlace() && !d.keeps(inst.Config.lifetime()) }) {
		return nil
	}
	files, err := k.images.Files(ctx, storage.FileFilter{Owner: inst.ID})
	if err != nil {
		return err
	}
	var paths []string
	for _, f := range files {
		if f.Kind == storage.KindLayer && inst.Config.vanishes(f.Disk) {
			paths = append(paths, f.Path)
		}
	}
	return k.delete(ctx, paths)
}
