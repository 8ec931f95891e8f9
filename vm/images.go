package vm

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
)

// imageKeeper decides which image each disk of a VM needs and has storage make it.
// Images made for a VM lie in a folder named by its ID.
type imageKeeper struct {
	images Images
	dir    string
}

// prepare returns an image for each of the configuration's disks, in order, and checks
// those of disks that were plugged. When it fails, and when undo is called, the images
// that this call made are deleted again.
func (k *imageKeeper) prepare(ctx context.Context, inst Instance) (out []Image, undo func(context.Context) error, err error) {
	if err := k.plugged(ctx, inst.Plugged); err != nil {
		return nil, nil, err
	}
	var made []string
	undo = func(ctx context.Context) error { return k.delete(ctx, made) }
	for i, d := range inst.Config.Disks {
		if slices.Contains(inst.Unplugged, d.NameAt(i)) { // its image may be gone, and is not needed
			out = append(out, Image{Name: d.NameAt(i)})
			continue
		}
		img, isNew, err := k.disk(ctx, inst.ID, i, d, inst.Config.lifetime())
		if err != nil {
			err = errors.Wrap(errors.ErrStorage, "disk "+d.NameAt(i), "", err)
			return nil, nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
		}
		if isNew {
			made = append(made, img.Path)
		}
		out = append(out, img)
	}
	return out, undo, nil
}

// plugged checks the images of disks that were plugged while the VM ran. QEMU would find
// a missing one as well, but end without saying what to do.
func (k *imageKeeper) plugged(ctx context.Context, devices []qmp.Device) error {
	for _, d := range devices {
		if d.Disk == nil {
			continue
		}
		if _, err := k.images.Inspect(ctx, d.Disk.Path, d.Disk.Format); err != nil {
			return &errors.Error{Kind: errors.ErrStorage, Op: "plugged disk " + d.ID + ", image " + strconv.Quote(d.Disk.Path), Err: err,
				Hint: "bring the image back, or take the disk out with qmp.Manager.RemoveDevice"}
		}
	}
	return nil
}

func (k *imageKeeper) disk(ctx context.Context, id string, index int, d Disk, l Lifetime) (Image, bool, error) {
	name, format := d.NameAt(index), d.ImageFormat()
	if d.inPlace() {
		info, err := k.images.Inspect(ctx, d.Path+d.Base, format)
		return Image{Name: name, Path: info.Path, Format: info.Format}, false, err
	}
	img := Image{Name: name, Path: filepath.Join(k.dir, id, name+".qcow2"), Format: FormatQcow2,
		Owned: true, Ephemeral: !d.keeps(l)}
	if img.Ephemeral { // one that a crash left
		if err := k.images.Delete(ctx, img.Path); err != nil {
			return img, false, err
		}
	} else if _, err := k.images.Inspect(ctx, img.Path, FormatQcow2); err == nil {
		return img, false, nil
	} else if !errors.Is(err, errors.ErrImageNotFound) {
		return img, false, err
	}
	var err error
	if d.Base != "" {
		_, err = k.images.Overlay(ctx, storage.OverlaySpec{Path: img.Path, Base: d.Base, BaseFormat: format, Size: int64(d.Size)})
	} else {
		_, err = k.images.Create(ctx, storage.CreateSpec{Path: img.Path, Format: FormatQcow2, Size: int64(d.Size)})
	}
	return img, err == nil, err
}

// release deletes the ephemeral images of a guest that is gone.
func (k *imageKeeper) release(ctx context.Context, images []Image) error {
	var paths []string
	for _, i := range images {
		if i.Owned && i.Ephemeral {
			paths = append(paths, i.Path)
		}
	}
	return k.delete(ctx, paths)
}

// erase deletes all images that were made for a VM: what lies in its folder, also of
// disks that have left its configuration since.
func (k *imageKeeper) erase(ctx context.Context, inst Instance) error {
	dir := filepath.Join(k.dir, inst.ID)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var paths []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".qcow2" {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return k.delete(ctx, paths)
}

func (k *imageKeeper) delete(ctx context.Context, paths []string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, k.images.Delete(ctx, p))
	}
	return errors.Join(errs...)
}
