package snapshot

import (
	"context"
	"path/filepath"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// disks makes the images that the guest wrote the template's bases. What vanishes with the guest
// is moved. What does not stays where it is, and the VM goes on in a layer above it; a crash
// before that is recorded leaves the VM as it was.
func (c *capturing) disks(ctx context.Context) error {
	cover := &Record{VM: c.inst.ID, Name: undoPrefix + c.rec.ID, ID: c.rec.ID, Kind: External, Created: time.Now().UTC(), Config: c.inst.Config}
	images := c.r.Images()
	for i := range c.rec.Config.Disks {
		if img := images[i]; img.Path != "" && !img.ReadOnly && !img.Ephemeral {
			cover.Disks = append(cover.Disks, RecordDisk{Name: img.Name, Path: img.Path, Format: img.Format, Layer: newLayer(c.r)})
		}
	}
	if err := c.keeper.begin(ctx, cover, Capturing, nil); err != nil {
		return err
	}
	err := c.cover(ctx, cover)
	if err = errors.Join(err, c.keeper.recoverCapturing(ctx, c.r, cover)); err != nil {
		return err
	}
	for i := range c.rec.Config.Disks {
		img := images[i]
		if img.Path == "" || img.ReadOnly {
			continue
		}
		c.keeper.step(ctx, "capture: disk "+img.Name)
		base, err := c.base(ctx, img)
		if err != nil {
			return errors.Wrap(errors.ErrStorage, "disk "+img.Name, "", err)
		}
		d := &c.rec.Config.Disks[i]
		d.Name, d.Path, d.Base, d.Format, d.Size, d.Keep = img.Name, "", base, vm.FormatQcow2, 0, nil
	}
	return nil
}

// cover puts a layer above each image that stays the VM's.
func (c *capturing) cover(ctx context.Context, cover *Record) error {
	for _, d := range cover.Disks {
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
		for _, d := range cover.Disks {
			setImage(i, originals, d.Name, d.Layer, vm.FormatQcow2)
		}
	})
}

// recoverCapturing deletes the layers of a capture that the VM does not stand on.
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

// base makes an image the template's, or one above it if it is the user's, and returns its path.
func (c *capturing) base(ctx context.Context, img vm.Image) (path string, err error) {
	path = filepath.Join(c.t.images.Root(), c.rec.ID, img.Name+".qcow2")
	purpose := storage.For{Owner: c.rec.ID, Disk: img.Name}
	switch {
	case img.Owned && img.Ephemeral:
		_, err = c.t.images.Move(ctx, storage.MoveSpec{Path: img.Path, To: path, For: purpose})
	case img.Owned:
		c.given = append(c.given, givenImage{img.Path, purpose})
		path = img.Path
	default:
		_, err = c.t.images.Overlay(ctx, storage.OverlaySpec{Path: path, Base: img.Path, BaseFormat: img.Format, For: purpose})
	}
	return path, err
}

// givenImage is an image of the VM's that is to be the template's.
type givenImage struct {
	path string
	to   storage.For
}

// give makes the images below the VM's layers the template's: they go with that, and not with the VM.
func (c *capturing) give(ctx context.Context) error {
	for _, g := range c.given {
		c.keeper.step(ctx, "capture: give "+g.to.Disk)
		if err := c.t.images.Give(ctx, g.path, g.to); err != nil {
			return err
		}
	}
	return nil
}
