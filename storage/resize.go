package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// ResizeSpec says what size an image is to have.
type ResizeSpec struct {
	Path   string // anywhere
	Format string // FormatRaw or FormatQcow2, never probed
	Size   int64  // bytes, at least 512, a multiple of 512
	// Shrink allows Size to be less than the image has: what lies behind is lost. It has to be
	// asked for twice: From must say what size the image has now.
	Shrink bool
	// From is the size in bytes that the image must have now. 0: any, unless it shrinks.
	From int64
	// Preallocation is how what is added is preallocated: as Qcow2Options.Preallocation.
	Preallocation string
}

// Resize gives an image that nobody uses another virtual size, in place, and returns what it
// is then. A guest finds more space behind the old end, which reads as zeros; what it makes of
// that is its own affair. The size that it has is no change.
//
// errors.ErrImageInUse names who has the image open, or the registered images that stand on
// it. Else errors are an [*ImageError], or errors.ErrStorage. When it fails, or ctx ends, the
// image has the one size or the other; clusters can have leaked: see [Manager.Repair].
func (m *Manager) Resize(ctx context.Context, spec ResizeSpec) (Image, error) {
	img, err := m.resize(ctx, spec)
	return img, storageError(fmt.Sprintf("resize image %s to %d bytes", quote(spec.Path), spec.Size), err)
}

func (m *Manager) resize(ctx context.Context, spec ResizeSpec) (Image, error) {
	err := checkSize(spec.Size)
	if err == nil {
		err = Qcow2Options{Preallocation: spec.Preallocation}.check()
	}
	if err == nil && spec.Format == FormatRaw {
		err = checkRaw(Qcow2Options{Preallocation: spec.Preallocation}, nil)
	}
	if err != nil {
		return Image{}, err
	}
	c, err := m.toWrite(ctx, spec.Path, spec.Format)
	if err != nil {
		return Image{}, err
	}
	defer c.release()
	now := c.layers[0]
	if err := spec.check(now.Image); err != nil {
		return Image{}, (&ImageError{Kind: errors.ErrStorage, Msg: err.Error(), Err: err}).at([]string{now.Path})
	}
	if spec.Size == now.Size {
		return now.Image, nil
	}
	args := []string{"resize", "-q", "-f", spec.Format}
	if spec.Size < now.Size {
		args = append(args, "--shrink")
	} else if spec.Preallocation != "" {
		args = append(args, "--preallocation="+spec.Preallocation)
	}
	err = m.img(ctx, append(args, "--", now.Path, strconv.FormatInt(spec.Size, 10))...)
	return m.changed(ctx, now, err)
}

func (s ResizeSpec) check(now Image) error {
	switch {
	case now.Device:
		return errors.New("is a block device, whose size is for the host to change")
	case s.From != 0 && s.From != now.Size:
		return fmt.Errorf("has %d bytes, and not the %d of ResizeSpec.From", now.Size, s.From)
	case s.Size < now.Size && !s.Shrink:
		return fmt.Errorf("has %d bytes, and would lose what is behind the first %d (set ResizeSpec.Shrink, and From to its size now)", now.Size, s.Size)
	case s.Size < now.Size && s.From == 0:
		return fmt.Errorf("would lose what is behind the first %d bytes (set ResizeSpec.From to its size now, %d, too)", s.Size, now.Size)
	}
	return nil
}

// changed registers what has become of an image that was written, by an operation that ended
// with err, and returns what it is.
func (m *Manager) changed(ctx context.Context, was layer, err error) (Image, error) {
	now, refreshErr := m.refresh(context.WithoutCancel(ctx), was.Path, was.Format)
	return now, errors.Join(blame(was, true, err), refreshErr)
}

// Refresh registers what an image has become: its virtual size and its base, which others
// change, too, QEMU for instance. It returns what is registered. A path that is not registered
// is errors.ErrImageNotFound; else errors are those of [Manager.Inspect].
func (m *Manager) Refresh(ctx context.Context, path string) (File, error) {
	op := "register what image " + quote(path) + " has become"
	file, err := m.row(ctx, path)
	if err == nil {
		_, err = m.refresh(ctx, file.Path, file.Format)
	}
	if err == nil {
		file, err = m.row(ctx, path)
	}
	return file, storageError(op, err)
}

// refresh brings the row of an image, if it has one, in line with the file.
func (m *Manager) refresh(ctx context.Context, path, format string) (Image, error) {
	l, fault := examine(path, format)
	if fault != nil {
		return Image{}, fault.at([]string{path})
	}
	files, err := m.files.Files(ctx, FileFilter{Path: path})
	if err != nil || len(files) == 0 {
		return l.Image, err
	}
	now := files[0]
	now.Size, now.Base = l.Size, baseName(l.Base)
	if now == files[0] {
		return l.Image, nil
	}
	return l.Image, m.files.PutFile(ctx, now)
}

// baseName is how a base is registered: as what symbolic links lead to.
func baseName(base string) string {
	if base == "" {
		return ""
	}
	if resolved, err := filepath.EvalSymlinks(base); err == nil {
		return resolved
	}
	return base
}

// row returns what is registered of a path.
func (m *Manager) row(ctx context.Context, path string) (File, error) {
	path, err := absolute(path)
	if err != nil {
		return File{}, err
	}
	files, err := m.files.Files(ctx, FileFilter{Path: path})
	if err == nil && len(files) == 0 {
		err = (&ImageError{Kind: errors.ErrImageNotFound, Msg: "is not registered", Fix: "see which are with Files"}).at([]string{path})
	}
	if err != nil {
		return File{}, err
	}
	return files[0], nil
}
