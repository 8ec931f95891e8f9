package vm

import (
	"context"
	"fmt"
	"os"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// imageCheck looks at all images that a start needs, before any is made, and collects
// what is wrong with them.
type imageCheck struct {
	*imageKeeper
	inst     Instance
	problems []errors.Problem
	uses     []imageUse
}

// imageUse is a file that a disk needs: its image, or one below it.
type imageUse struct {
	disk  int    // whose; plugged disks count on
	field string // of the disk's image
	path  string
	write bool
	info  os.FileInfo // nil: it can't be told from other paths of the same file
}

// plannedImage is the image of a disk, which may have to be made yet.
type plannedImage struct {
	Image
	missing bool
	staged  bool // only read: where guests have a host of their own, it may have to be copied there
	stale   bool // what is there, if anything, is of no use: a crash left it
}

// check returns an image for each of the configuration's disks, in order. What is wrong
// with those that are there comes as *errors.ConfigError.
func (k *imageKeeper) check(ctx context.Context, inst Instance) ([]plannedImage, error) {
	c := &imageCheck{imageKeeper: k, inst: inst}
	plan := make([]plannedImage, len(inst.Config.Disks))
	for i, d := range inst.Config.Disks {
		plan[i].Name = d.NameAt(i)
		if inst.unplugged(d.NameAt(i)) || d.emptyTray() { // its image may be gone, and is not needed
			continue
		}
		if err := c.disk(ctx, i, d, &plan[i]); err != nil {
			return nil, err
		}
	}
	if err := c.plugged(ctx); err != nil {
		return nil, err
	}
	c.shared()
	if len(c.problems) > 0 {
		return nil, &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: inst.Name, Problems: c.problems}
	}
	return plan, nil
}

// disk checks what is there of one disk.
func (c *imageCheck) disk(ctx context.Context, i int, d Disk, img *plannedImage) error {
	field := fmt.Sprintf("disks[%d]", i)
	c.key(field, d)
	switch {
	case d.Path != "":
		field += ".path"
	case d.Base != "":
		field += ".base"
	}
	if path := c.inst.layer(img.Name); path != "" {
		img.Path, img.Format, img.Owned = path, FormatQcow2, true
		img.Ephemeral = !d.inPlace() && !d.keeps(c.inst.Config.lifetime())
		layers, err := c.image(ctx, i, field, "or drop the external snapshots above it", path, FormatQcow2, true, d.secrets()...)
		c.encrypted(field, d, img, layers)
		return err
	}
	if d.inPlace() {
		img.ReadOnly, img.staged = d.IsReadOnly(), d.IsReadOnly()
		layers, err := c.image(ctx, i, field, "", d.Path+d.Base, d.ImageFormat(), !d.IsReadOnly(), d.secrets()...)
		if len(layers) > 0 {
			img.Path, img.Format, img.Device = layers[0].Path, layers[0].Format, layers[0].Device
		}
		c.encrypted(field, d, img, layers)
		return err
	}
	var err error
	if img.Path, err = c.pathOf(ctx, c.inst.ID, img.Name); err != nil {
		return err
	}
	img.Format, img.Owned, img.Ephemeral = FormatQcow2, true, !d.keeps(c.inst.Config.lifetime())
	if img.stale, err = c.worthless(ctx, field, img.Image); err != nil {
		return err
	}
	if !img.stale {
		layers, err := c.images.Usable(ctx, img.Path, FormatQcow2, true, d.secrets()...)
		if err == nil || !isMissing(err, img.Path) {
			c.encrypted(field, d, img, layers)
			return c.found(ctx, i, field, "", img.Path, true, layers, err)
		}
	}
	img.missing, img.Encrypted = true, d.KeyFile != ""
	if d.Base == "" {
		return nil
	}
	layers, err := c.image(ctx, i, field, "", d.Base, d.ImageFormat(), false, d.secrets()...)
	img.Bases = encryptedBases(layers)
	if len(layers) > 0 && d.Size != 0 && int64(d.Size) < layers[0].Size {
		c.problems = append(c.problems, errors.Problem{Field: fmt.Sprintf("disks[%d].size", i), Value: d.Size.String(),
			Message: fmt.Sprintf("is less than the %s of its base", Size(layers[0].Size)), Fix: "leave it out, or make it larger"})
	}
	return err
}

// plugged checks the images of disks that were plugged while the VM ran. QEMU would find
// a missing one as well, but end without saying what to do.
func (c *imageCheck) plugged(ctx context.Context) error {
	for i, d := range c.inst.layeredPlugged() {
		if d.Disk == nil {
			continue
		}
		_, err := c.image(ctx, len(c.inst.Config.Disks)+i, fmt.Sprintf("plugged[%d].disk.path", i),
			"or take disk "+d.ID+" out with qmp.Manager.RemoveDevice", d.Disk.Path, d.Disk.Format, !d.Disk.ReadOnly)
		if err != nil {
			return err
		}
	}
	return nil
}

// image checks an image that has to be there. An error is one of the check itself.
func (c *imageCheck) image(ctx context.Context, disk int, field, otherwise, path, format string, write bool, keys ...storage.Secret) ([]storage.Image, error) {
	layers, err := c.images.Usable(ctx, path, format, write, keys...)
	return layers, c.found(ctx, disk, field, otherwise, path, write, layers, err)
}

// found notes what Usable said of an image.
func (c *imageCheck) found(ctx context.Context, disk int, field, otherwise, path string, write bool, layers []storage.Image, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		p := errors.Problem{Field: field, Value: path, Message: err.Error(), Err: err}
		var bad *storage.ImageError
		if errors.As(err, &bad) {
			p.Message, p.Fix = bad.Problem(func(pid int) string { return c.nameOf(ctx, pid) }), bad.Fix
			if len(bad.Chain) > 1 {
				p.Message = fmt.Sprintf("stands on %q, which %s", bad.Path, p.Message)
			}
		}
		if otherwise != "" {
			p.Fix += ", " + otherwise
		}
		c.problems = append(c.problems, p)
		return nil
	}
	for i, l := range layers {
		use := imageUse{disk: disk, field: field, path: l.Path, write: write && i == 0}
		if c.host == nil {
			if use.info, err = os.Stat(l.Path); err != nil {
				use.info = nil
			}
		}
		c.uses = append(c.uses, use)
	}
	return nil
}

// shared finds files that one disk writes and another one needs, too.
func (c *imageCheck) shared() {
	for i, b := range c.uses {
		for _, a := range c.uses[:i] {
			if a.disk == b.disk || !a.write && !b.write || !a.same(b) {
				continue
			}
			c.problems = append(c.problems, errors.Problem{Field: b.field, Value: b.path,
				Message: "is also used by " + a.field + ", and one of them writes to it",
				Fix:     "give each disk an image of its own, or an overlay (base instead of path)"})
			break
		}
	}
}

func (u imageUse) same(o imageUse) bool {
	return u.path == o.path || u.info != nil && o.info != nil && os.SameFile(u.info, o.info)
}

// nameOf says which VM a process is, "" if it is none of ours.
func (c *imageCheck) nameOf(ctx context.Context, pid int) string {
	list, err := c.store.List(ctx, Filter{})
	if err != nil {
		return ""
	}
	for _, inst := range list {
		if inst.State.Live() && inst.Runtime.Process.PID == pid {
			return fmt.Sprintf("VM %q", inst.Name)
		}
	}
	return ""
}

// worthless reports whether what is at an image's path, if anything, has to be made anew: it
// went with its guest, or its maker died before it was whole. What maqet did not make, and is
// in the way of an image that goes with its guest, is a problem: it is never deleted.
func (c *imageCheck) worthless(ctx context.Context, field string, img Image) (bool, error) {
	passing := img.Ephemeral && !c.inst.ImagesKept
	size, err := c.place.ImageSize(ctx, img.Path)
	if err != nil && !errors.Is(err, errors.ErrImageNotFound) {
		return false, err
	}
	if err != nil || size == 0 { // where one was about to be made
		return passing || err == nil, nil
	}
	files, err := c.images.Files(ctx, storage.FileFilter{Path: img.Path})
	if err != nil || len(files) > 0 {
		return passing || err == nil && files[0].Unfinished, err
	}
	if passing {
		c.problems = append(c.problems, errors.Problem{Field: field, Value: img.Path,
			Message: "is where the disk's image is made, and there is something that maqet did not make", Fix: "move it away"})
	}
	return passing, nil
}

// isMissing reports whether err says that there is no image at path itself. One whose base
// is gone is there.
func isMissing(err error, path string) bool {
	if !errors.Is(err, errors.ErrImageNotFound) {
		return false
	}
	var bad *storage.ImageError
	return !errors.As(err, &bad) || bad.Path == path
}
