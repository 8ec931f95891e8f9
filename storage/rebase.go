package storage

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// RebaseSpec says what an image is to stand on.
type RebaseSpec struct {
	Path       string // a qcow2 image, anywhere
	Base       string // the new base; empty: none, the image is to hold all by itself
	BaseFormat string // FormatRaw or FormatQcow2, never probed; empty without Base
	// Unsafe says that Base holds just what the base does that the image names now, or did
	// before it was moved. Only the name is changed then, nothing is compared or copied, and the
	// old base need not be there. If it does not hold that, the image's data is spoilt.
	Unsafe bool
	// Progress is as ConvertSpec.Progress.
	Progress func(done, total int64)
}

// Rebase has a qcow2 image that nobody uses stand on another base, or on none, and returns
// what it is then. What differs between the old base and the new one is copied into the image
// before, so that a guest sees what it saw, unless spec.Unsafe says that nothing does.
//
// An image with internal snapshots is refused, unless Unsafe: they would be of other
// data. So is a base that stands on the image itself. Else errors are those of
// [Manager.Resize]. When it fails, or ctx ends, the image stands on the one base or the other
// and its data is as it was; see also [Manager.Repair].
func (m *Manager) Rebase(ctx context.Context, spec RebaseSpec) (Image, error) {
	img, err := m.rebase(ctx, spec)
	return img, storageError("rebase image "+quote(spec.Path)+" to "+quote(spec.Base), err)
}

func (m *Manager) rebase(ctx context.Context, spec RebaseSpec) (Image, error) {
	c, err := m.rebasable(ctx, spec)
	if err != nil {
		return Image{}, err
	}
	defer c.release()
	top := c.layers[0]
	args := []string{"-f", FormatQcow2}
	if spec.Unsafe {
		args = append(args, "-u")
	} else {
		args = append(args, writeThrough...)
	}
	if spec.Base == "" {
		args = append(args, "-b", "")
	} else {
		ground, err := newBase(ctx, spec, top)
		if err != nil {
			return Image{}, err
		}
		defer ground.release()
		args = append(args, "-F", spec.BaseFormat, "-b", ground.path)
	}
	err = m.work(ctx, newMeter(spec.Progress, top.Size), "rebase", append(args, "--", top.Path)...)
	return m.changed(ctx, top, err)
}

// writeThrough has what is copied in the file, with the tables that lead there, before qemu-img
// names the new base in the header: img_rebase in QEMU's qemu-img.c writes the header at once, and
// tables that are still in memory only as it ends. Killed in between, it would lose what it
// copied.
var writeThrough = []string{"-t", "writethrough"}

// rebasable claims the image, and checks that it can be rebased.
func (m *Manager) rebasable(ctx context.Context, spec RebaseSpec) (*claim, error) {
	if spec.Base == "" && spec.BaseFormat != "" {
		return nil, errors.New("there is a BaseFormat, and no Base")
	}
	if !spec.Unsafe {
		c, err := m.toWrite(ctx, spec.Path, FormatQcow2)
		if err == nil && c.layers[0].head.snapshots > 0 {
			defer c.release()
			return nil, (&ImageError{Kind: errors.ErrStorage, Msg: "has internal snapshots, which would be of other data then",
				Fix: "delete them, or convert the image"}).at([]string{c.layers[0].Path})
		}
		return c, err
	}
	l, err := m.lone(spec.Path, FormatQcow2) // what it stands on can be gone
	if err != nil {
		return nil, err
	}
	if fault := l.usable(true, false); fault != nil {
		return nil, fault.at([]string{l.Path})
	}
	return m.exclude(ctx, []layer{l})
}

// newBase claims the base that an image is to get.
func newBase(ctx context.Context, spec RebaseSpec, top layer) (footing, error) {
	layers, err := usableLayers(ctx, spec.Base, spec.BaseFormat, false, false)
	if err != nil {
		return footing{}, err
	}
	for _, l := range layers {
		if sameFile(l.Path, top.Path) {
			return footing{}, (&ImageError{Kind: errors.ErrStorage, Msg: "stands on the image itself", Fix: "choose another base"}).at([]string{layers[0].Path})
		}
	}
	ground, err := standOn(layers[0].Path)
	if err == nil {
		err = checkBackingName(ground.path)
	}
	if err != nil {
		ground.release()
	}
	return ground, err
}
