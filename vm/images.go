package vm

import (
	"context"
	"os"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// imageKeeper decides which image each disk of a VM needs and has storage make it.
// Images made for a VM on this host lie in a folder named by its ID.
type imageKeeper struct {
	images Images
	store  Store // knows who uses an image
	place  imagePlace
	host   HostImages // nil: files of this host
}

func newImageKeeper(images Images, store Store, dir localPlace) *imageKeeper {
	return &imageKeeper{images: images, store: store, place: dir}
}

// pathOf is where the image of a disk is that is made.
func (k *imageKeeper) pathOf(ctx context.Context, id, disk string) (string, error) {
	return k.place.ImagePath(ctx, id, imageName(disk))
}

func imageName(disk string) string { return disk + ".qcow2" }

// prepare returns an image for each of the configuration's disks, in order, after it has
// checked all that are there. Of disks in Unplugged, and empty CD-ROM drives, there is
// only the name. When it fails, and when undo is called, the images that this call made are
// deleted again.
func (k *imageKeeper) prepare(ctx context.Context, inst Instance) (out []Image, undo func(context.Context) error, err error) {
	plan, err := k.check(ctx, inst)
	if err != nil {
		return nil, nil, err
	}
	var made []string
	undo = func(ctx context.Context) error { return k.delete(ctx, made) }
	for i, img := range plan {
		if img.staged && k.host != nil {
			if img.Path, err = k.host.Stage(ctx, img.Path, img.Format); err != nil {
				err = errors.Wrap(errors.ErrStorage, "disk "+img.Name, "", err)
				return nil, nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
			}
		}
		out = append(out, img.Image)
		if !img.missing {
			continue
		}
		if err := k.make(ctx, inst.ID, inst.Config.Disks[i], img); err != nil {
			err = errors.Wrap(errors.ErrStorage, "disk "+img.Name, "", err)
			return nil, nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
		}
		made = append(made, img.Path)
	}
	return out, undo, nil
}

// make makes the image of a disk.
func (k *imageKeeper) make(ctx context.Context, id string, d Disk, img plannedImage) error {
	purpose := storage.For{Owner: id, Disk: img.Name}
	if img.stale {
		if err := k.images.Delete(ctx, img.Path); err != nil {
			return err
		}
	}
	if d.Base == "" {
		_, err := k.images.Create(ctx, storage.CreateSpec{Path: img.Path, Format: img.Format, Size: int64(d.Size), Encryption: d.encryption(), For: purpose})
		return err
	}
	_, err := k.images.Overlay(ctx, storage.OverlaySpec{Path: img.Path, Base: d.Base, BaseFormat: d.ImageFormat(), Size: int64(d.Size),
		Encryption: d.encryption(), For: purpose})
	return err
}

// releaseAll deletes all that goes with the guest of a VM, which is gone.
func (k *imageKeeper) releaseAll(ctx context.Context, inst Instance) error {
	images, err := k.passing(ctx, inst)
	return errors.Join(err, k.release(ctx, images), k.releaseLayers(ctx, inst))
}

// release deletes the ephemeral images of a guest that is gone, as far as they were
// recorded. What somebody else has put there stays.
func (k *imageKeeper) release(ctx context.Context, images []Image) error {
	var errs []error
	for _, i := range images {
		if i.Owned && i.Ephemeral {
			if err := k.images.Delete(ctx, i.Path); !errors.Is(err, storage.ErrUnregistered) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// passing returns the images that the guest of a VM may have and that go with it, also
// where its owner died before it recorded them.
func (k *imageKeeper) passing(ctx context.Context, inst Instance) (images []Image, err error) {
	for i, d := range inst.Config.Disks {
		if name := d.NameAt(i); !d.inPlace() && !d.emptyTray() && !d.keeps(inst.Config.lifetime()) {
			path, err := k.pathOf(ctx, inst.ID, name)
			if err != nil {
				return nil, err
			}
			images = append(images, Image{Path: path, Owned: true, Ephemeral: true})
		}
	}
	return append(images, inst.Runtime.Disks...), nil
}

// erase deletes all images that are registered as the VM's, also of disks that have left
// its configuration since. What external snapshots have put over a user's own image stays:
// it holds what the guest wrote since, and without it the user's image is of the past. Empty
// files go as well: there an image was about to be made, and not yet registered, when its maker
// died.
func (k *imageKeeper) erase(ctx context.Context, inst Instance) error {
	files, err := k.images.Files(ctx, storage.FileFilter{Owner: inst.ID})
	if err != nil {
		return err
	}
	var paths []string
	for _, f := range files {
		if f.Kind != storage.KindLayer || inst.Config.ownsImageOf(f.Disk) {
			paths = append(paths, f.Path)
		}
	}
	return k.delete(ctx, append(paths, k.empty(inst.ID)...))
}

// empty returns the empty files in the folder of a VM's images. Other hosts' have none: there
// nothing is made without a record.
func (k *imageKeeper) empty(id string) (paths []string) {
	local, ok := k.place.(localPlace)
	if !ok {
		return nil
	}
	entries, err := os.ReadDir(local.path(id, ""))
	if err != nil {
		return nil // as a rule: it is gone, too
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			paths = append(paths, local.path(id, e.Name()))
		}
	}
	return paths
}

func (k *imageKeeper) delete(ctx context.Context, paths []string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, k.images.Delete(ctx, p))
	}
	return errors.Join(errs...)
}
