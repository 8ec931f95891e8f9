package storage

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// sector is the unit in which image sizes are counted.
const sector = 512

// maxBackingName is how long the name of a base may be in a qcow2 header (QEMU,
// docs/interop/qcow2.txt, backing_file_size).
const maxBackingName = 1023

// Create makes an empty image below the root folder, with mode 0600. Where nothing is to be
// preallocated it is sparse. errors.ErrImageCreation; an existing file is never overwritten,
// and when it fails, or ctx ends, nothing is left.
func (m *Manager) Create(ctx context.Context, spec CreateSpec) (Image, error) {
	spec.Format = cmp.Or(spec.Format, FormatQcow2)
	img := Image{Format: spec.Format, Size: spec.Size, Encrypted: spec.Encryption != nil}
	err := spec.check()
	if err == nil {
		img, err = m.place(ctx, spec.Path, spec.For.as(KindDisk), img, func(file *os.File) error {
			if spec.Format == FormatRaw {
				return m.fillRaw(ctx, file, spec)
			}
			return m.fillQcow2(ctx, file, blank{size: spec.Size, options: spec.Options}, spec.Encryption)
		})
	}
	return img, creationError("create image "+quote(spec.Path), err)
}

// Overlay makes a qcow2 image below the root folder whose unwritten parts are those of
// spec.Base, which may be anywhere and is never written. A symbolic link in Base is
// resolved now, once: later it could lead to other data. errors.ErrImageNotFound when
// there is no base; else as [Manager.Create].
func (m *Manager) Overlay(ctx context.Context, spec OverlaySpec) (Image, error) {
	op := "create image " + quote(spec.Path) + " over " + quote(spec.Base)
	layers, err := walk(ctx, spec.Base, spec.BaseFormat)
	if err != nil {
		return Image{}, creationError(op, err)
	}
	base := layers[0]
	img := Image{Format: FormatQcow2, Size: cmp.Or(spec.Size, roundUp(base.Size)), BaseFormat: base.Format,
		Encrypted: spec.Encryption != nil}
	ground, err := standOn(base.Path)
	if err == nil {
		defer ground.release()
		img.Base = ground.path
		err = spec.check(img, layers)
	}
	if err == nil {
		img, err = m.place(ctx, spec.Path, spec.For.as(KindOverlay), img, func(file *os.File) error {
			return m.fillQcow2(ctx, file, spec.blank(img), spec.Encryption)
		})
	}
	return img, creationError(op, err)
}

func (s CreateSpec) check() error {
	if err := checkSize(s.Size); err != nil {
		return err
	}
	if err := checkFormat(s.Format); err != nil {
		return err
	}
	if err := s.Options.check(); err != nil {
		return err
	}
	if s.Format == FormatRaw {
		return checkRaw(s.Options, s.Encryption)
	}
	if err := s.Encryption.check(); err != nil {
		return err
	}
	return blank{size: s.Size, options: s.Options}.check()
}

func (s OverlaySpec) check(img Image, layers []layer) error {
	switch base := layers[0]; {
	case img.Size < base.Size:
		return fmt.Errorf("size %d is less than the %d bytes of its base", img.Size, base.Size)
	case s.Encryption == nil && slices.ContainsFunc(layers, func(l layer) bool { return l.Encrypted }):
		return errors.New("its base is encrypted, and what is written over it would not be: give an Encryption")
	}
	if err := checkSize(img.Size); err != nil {
		return err
	}
	if err := s.Options.check(); err != nil {
		return err
	}
	if err := s.Encryption.check(); err != nil {
		return err
	}
	return s.blank(img).check()
}

func (s OverlaySpec) blank(img Image) blank {
	return blank{size: img.Size, backing: img.Base, format: img.BaseFormat, options: s.Options}
}

func checkBackingName(path string) error {
	if len(path) > maxBackingName {
		return fmt.Errorf("the path of its base has %d bytes, and qcow2 images can name %d", len(path), maxBackingName)
	}
	return nil
}

func checkSize(size int64) error {
	if size < sector || size%sector != 0 {
		return fmt.Errorf("size %d is not a positive multiple of %d bytes", size, sector)
	}
	return nil
}

func checkFormat(format string) error {
	if format != FormatRaw && format != FormatQcow2 {
		return fmt.Errorf("format %q is neither %q nor %q", format, FormatRaw, FormatQcow2)
	}
	return nil
}

func roundUp(size int64) int64 { return max(sector, (size+sector-1)/sector*sector) }

// place makes an empty file at path, lets fill turn it into an image, and returns img
// with what became of it. The placeholder is what keeps two creators of one path apart,
// and what gives the file its mode. The file is registered before it has any content, so
// that whatever a crash leaves is known to be ours: an empty file without a row, or one that
// is registered as unfinished. If fill fails the file is removed.
func (m *Manager) place(ctx context.Context, path string, purpose For, img Image, fill func(*os.File) error) (_ Image, err error) {
	if err := ctx.Err(); err != nil {
		return Image{}, err
	}
	rel, err := m.local(path)
	if err != nil {
		return Image{}, err
	}
	if err := os.MkdirAll(m.root, 0o700); err != nil {
		return Image{}, err
	}
	root, err := os.OpenRoot(m.root) // which no symbolic link below it can lead out of
	if err != nil {
		return Image{}, err
	}
	defer root.Close()
	file, err := makeFile(root, rel)
	if err != nil {
		return Image{}, err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, removeIfThere(root, rel), m.forget(ctx, path))
			prune(root, filepath.Dir(rel))
		}
	}()
	path = file.Name()
	if err := imagelock.ExcludeFile(file); err != nil && !errors.Is(err, imagelock.ErrHeld) { // shows that its maker lives
		return Image{}, err
	}
	row := purpose.file(path, img)
	row.Unfinished = true
	if err := m.files.PutFile(ctx, row); err != nil {
		return Image{}, err
	}
	if err := fill(file); err != nil {
		return Image{}, err
	}
	row.Unfinished = false
	if err := m.files.PutFile(ctx, row); err != nil {
		return Image{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return Image{}, err
	}
	img.Path, img.Allocated = file.Name(), allocated(info)
	m.log.DebugContext(ctx, "image created", "path", img.Path, "format", img.Format, "size", img.Size, "base", img.Base)
	return img, nil
}

// folderTries is how often a folder is made that others remove because it is empty: see prune.
const folderTries = 100

// makeFile makes an empty file, with its folder.
func makeFile(root *os.Root, rel string) (file *os.File, err error) {
	for range folderTries {
		if err = root.MkdirAll(filepath.Dir(rel), 0o700); err == nil {
			file, err = root.OpenFile(rel, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return file, err
}

// forget takes a file that is gone out of the registry, also when ctx has ended.
func (m *Manager) forget(ctx context.Context, path string) error {
	return m.files.DropFile(context.WithoutCancel(ctx), path)
}

func removeIfThere(root *os.Root, name string) error {
	if err := root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func allocated(info fs.FileInfo) int64 {
	return info.Sys().(*syscall.Stat_t).Blocks * 512 // stat(2): always of 512 bytes
}

// creationError wraps err, if it is one, as errors.ErrImageCreation.
func creationError(op string, err error) error {
	return errors.Wrap(errors.ErrImageCreation, op, "", err)
}

// quote shows a path on one line.
func quote(path string) string { return strconv.Quote(path) }
