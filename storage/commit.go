package storage

import (
	"context"
	"os"

	"github.com/maqet/maqet/errors"
)

// CommitSpec says which overlay to write into its base.
type CommitSpec struct {
	Path string // a qcow2 image with a base, anywhere
	// Base is the image that will be written: that on which Path stands. Empty: whichever that is.
	Base string
	// Empty has the overlay emptied afterwards, so that it takes no space. Otherwise it still holds
	// what the base does now. Killed while it does so, QEMU leaves an overlay that it repairs by
	// itself when it next writes to it, and that a check finds fault with before.
	Empty bool
	// Progress is as ConvertSpec.Progress.
	Progress func(done, total int64)
}

// Commit writes what a qcow2 image that nobody uses holds into the image that it stands on,
// and returns what that is then: as large as the overlay, if it was smaller. Through the
// overlay the same is seen as before.
//
// The base must not be used by anybody else, and no other registered image may stand on it, or
// on the overlay: errors.ErrImageInUse, with their names. An overlay with internal
// snapshots is refused: they would be of other data. Else errors are those of
// [Manager.Resize]. When it fails, or ctx ends, the overlay is what it was, the base is
// somewhere in between, and Commit can be called again; see also [Manager.Repair].
func (m *Manager) Commit(ctx context.Context, spec CommitSpec) (Image, error) {
	img, err := m.commit(ctx, spec)
	return img, storageError("commit image "+quote(spec.Path), err)
}

func (m *Manager) commit(ctx context.Context, spec CommitSpec) (Image, error) {
	c, err := m.toWrite(ctx, spec.Path, FormatQcow2)
	if err != nil {
		return Image{}, err
	}
	defer c.release()
	if err := spec.check(c.layers); err != nil {
		return Image{}, err
	}
	top, base := c.layers[0], c.layers[1]
	if fault := base.usable(true, false); fault != nil {
		return Image{}, fault.at([]string{top.Path, base.Path})
	}
	below, err := m.exclude(ctx, c.layers[1:], top.Path)
	if err != nil {
		return Image{}, err
	}
	defer below.release()
	args := []string{"-f", FormatQcow2}
	if !spec.Empty {
		args = append(args, "-d")
	}
	err = m.work(ctx, newMeter(spec.Progress, top.Size), "commit", append(args, "--", top.Path)...)
	if err != nil {
		err = blame(top, true, err)
	}
	return m.changed(ctx, base, err)
}

func (s CommitSpec) check(layers []layer) error {
	top := layers[0]
	e := &ImageError{Kind: errors.ErrStorage}
	switch {
	case len(layers) == 1:
		e.Msg, e.Fix = "stands on no other image", "there is nothing to commit to"
	case s.Base != "" && !sameFile(s.Base, top.Base):
		e.Msg, e.Fix = "stands on "+quote(top.Base)+", and not on "+quote(s.Base), "correct CommitSpec.Base"
	case top.head.snapshots > 0:
		e.Msg, e.Fix = "has internal snapshots, which would be of other data then", "delete them, or convert the image"
	default:
		return nil
	}
	return e.at([]string{top.Path})
}

// sameFile reports whether two paths lead to the same file.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
