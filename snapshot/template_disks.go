package snapshot

import (
	"context"
	"path/filepath"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// disks makes the images that the guest wrote the template's bases: one that maqet made gets its
// name, one of the user's stays, below an image of the template's. What does not vanish with the
// guest goes on in a new layer. A crash before that is recorded leaves the VM's disks as they were.
func (c *capturing) disks(ctx context.Context) error {
	images := c.r.Images()
	layers := &Record{VM: c.inst.ID, Name: undoPrefix + c.rec.ID, ID: c.rec.ID, Kind: External, Created: time.Now().UTC(), Config: c.inst.Config}
	var old []string // names by which images were the VM's
	for i := range c.rec.Config.Disks {
		img := images[i]
		if img.Path == "" || img.ReadOnly {
			continue
		}
		if img.Owned {
			old = append(old, img.Path)
		}
		c.keeper.step(ctx, "capture: disk "+img.Name)
		base, err := c.base(ctx, img)
		if err != nil {
			return errors.Wrap(errors.ErrStorage, "disk "+img.Name, "", err)
		}
		if !img.Ephemeral {
			below := RecordDisk{Name: img.Name, Path: base, Format: vm.FormatQcow2, Layer: newLayer(c.r)}
			if !img.Owned {
				below.Path, below.Format = img.Path, img.Format
			}
			layers.Disks = append(layers.Disks, below)
		}
		d := &c.rec.Config.Disks[i]
		d.Name, d.Path, d.Base, d.Format, d.Size, d.Keep = img.Name, "", base, vm.FormatQcow2, 0, nil
	}
	if err := c.cover(ctx, layers); err != nil {
		return err
	}
	// Only now: until then the VM's disks were these.
	for _, path := range old {
		c.keeper.step(ctx, "capture: hand over "+filepath.Base(path))
		if err := c.t.images.Delete(ctx, path); err != nil {
			return err
		}
	}
	return c.identifyImages(images)
}

// identifyImages notes what the images are that nobody writes any more.
func (c *capturing) identifyImages(was []vm.Image) error {
	for i, d := range c.rec.Config.Disks {
		img := was[i]
		if img.Path == "" || img.ReadOnly {
			continue
		}
		paths := []string{d.Base}
		if !img.Owned && !img.Device { // whose times tell nothing
			paths = append(paths, img.Path)
		}
		for _, path := range paths {
			id, err := identifyPath(path)
			if err != nil {
				return err
			}
			c.rec.Images = append(c.rec.Images, templateImage{path, id})
		}
	}
	return nil
}

// base makes the template's image of a disk, and returns its path.
func (c *capturing) base(ctx context.Context, img vm.Image) (path string, err error) {
	path = filepath.Join(c.t.images.Root(), c.rec.ID, img.Name+".qcow2")
	purpose := storage.For{Owner: c.rec.ID, Disk: img.Name}
	if img.Owned {
		_, err = c.t.images.Link(ctx, storage.LinkSpec{Path: img.Path, To: path, For: purpose})
	} else {
		_, err = c.t.images.Overlay(ctx, storage.OverlaySpec{Path: path, Base: img.Path, BaseFormat: img.Format, For: purpose})
	}
	return path, err
}

// cover makes the layers, and has the VM stand on them.
func (c *capturing) cover(ctx context.Context, layers *Record) error {
	if err := c.keeper.begin(ctx, layers, Capturing, nil); err != nil {
		return err
	}
	err := c.standOn(ctx, layers)
	return errors.Join(err, c.keeper.recoverCapturing(ctx, c.r, layers))
}

func (c *capturing) standOn(ctx context.Context, layers *Record) error {
	for _, d := range layers.Disks {
		c.keeper.step(ctx, "capture: layer "+d.Name)
		_, err := c.t.images.Overlay(ctx, storage.OverlaySpec{Path: d.Layer, Base: d.Path, BaseFormat: d.Format,
			For: storage.For{Owner: c.inst.ID, Disk: d.Name, Kind: storage.KindLayer}})
		if err != nil {
			return errors.Wrap(errors.ErrStorage, "disk "+d.Name, "", err)
		}
	}
	c.keeper.step(ctx, "capture: stand on layers")
	originals := c.r.Originals()
	return c.r.Update(ctx, func(i *vm.Instance) {
		i.ImagesKept, i.Unclean, i.Snapshot = false, false, ""
		for _, d := range layers.Disks {
			setImage(i, originals, d.Name, d.Layer, vm.FormatQcow2)
		}
	})
}

// recoverCapturing forgets a capture, with the layers that the VM does not stand on.
func (k *Keeper) recoverCapturing(ctx context.Context, r *vm.Reservation, rec *Record) error {
	standing := map[string]bool{}
	for _, l := range r.Instance().Layers {
		standing[l.Path] = true
	}
	for _, d := range rec.Disks {
		if standing[d.Layer] {
			continue
		}
		if err := k.images.Delete(ctx, d.Layer); err != nil {
			return err
		}
	}
	return k.drop(ctx, rec)
}
