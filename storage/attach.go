package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
)

// AttachSpec says whose an image is to be.
type AttachSpec struct {
	Path string // below the root folder
	// Owner is the ID of the VM that is to have it, and with which it will be deleted. Empty: none.
	Owner string
	Disk  string // name of that VM's disk
	// From is the owner that it must have now, so that no VM loses its image by mistake. Empty: none.
	From string
	// Format is needed for a file that is not registered, and must be the registered one
	// otherwise, if it is given. FormatRaw or FormatQcow2, never probed.
	Format string
}

// Attach gives a whole image to a VM, an orphan as [Manager.Orphans] lists them for instance,
// and returns what is registered of it then. An image that was not registered is from then
// on, and can be deleted like others. The VM's configuration is not changed: name the image in
// one of its disks.
//
// An image that belongs to another VM than spec.From, or that is unfinished, is refused:
// errors.ErrStorage; and so is one that somebody writes: errors.ErrImageInUse.
func (m *Manager) Attach(ctx context.Context, spec AttachSpec) (File, error) {
	file, err := m.attach(ctx, spec)
	return file, storageError("attach image "+quote(spec.Path), err)
}

func (m *Manager) attach(ctx context.Context, spec AttachSpec) (File, error) {
	rel, err := m.local(spec.Path)
	if err != nil {
		return File{}, err
	}
	path := filepath.Join(m.root, rel)
	root, err := os.OpenRoot(m.root) // which no symbolic link below it can lead out of
	if err != nil {
		return File{}, unopened("read", err).at([]string{path})
	}
	defer root.Close()
	info, err := root.Lstat(rel)
	if err != nil {
		return File{}, unopened("read", err).at([]string{path})
	}
	if !info.Mode().IsRegular() {
		return File{}, notAnImage(info.Mode()).at([]string{path})
	}
	hold, err := excluded(path) // of two that attach it, the second sees what the first did
	if err != nil {
		return File{}, err
	}
	defer hold.Release()
	file, err := m.attachable(ctx, path, spec)
	if err != nil {
		return File{}, err
	}
	l, fault := examine(path, file.Format)
	if fault == nil {
		fault = l.unused(false)
	}
	if fault != nil {
		return File{}, fault.at([]string{path})
	}
	if file.Kind == "" {
		now := For{}.as(KindDisk)
		if l.Base != "" {
			now = For{}.as(KindOverlay)
		}
		file = now.file(path, l.Image)
	}
	file.Owner, file.Disk, file.Size, file.Base = spec.Owner, spec.Disk, l.Size, baseName(l.Base)
	return file, m.files.PutFile(ctx, file)
}

// attachable returns what is registered of an image, if that allows to attach it. Of one
// that is not registered there is no kind.
func (m *Manager) attachable(ctx context.Context, path string, spec AttachSpec) (File, error) {
	files, err := m.files.Files(ctx, FileFilter{Path: path})
	if err != nil {
		return File{}, err
	}
	file := File{Path: path, Format: spec.Format}
	if len(files) > 0 {
		file = files[0]
	}
	e := &ImageError{Kind: errors.ErrStorage}
	switch {
	case file.Owner != spec.From:
		e.Msg, e.Fix = "belongs to VM "+quote(file.Owner)+", and not to "+quote(spec.From), "if it is to lose it, set AttachSpec.From"
	case file.Unfinished:
		e.Msg, e.Fix = "is unfinished", "delete it"
	case spec.Format != "" && spec.Format != file.Format:
		e.Msg, e.Fix = "is registered as "+file.Format+", and not "+spec.Format, "leave AttachSpec.Format out"
	case file.Format == "":
		e.Msg, e.Fix = "is not registered", "state its format, in AttachSpec.Format"
	default:
		return file, nil
	}
	return File{}, e.at([]string{path})
}

// Forget takes a file out of the registry that has vanished. One that is there is refused,
// errors.ErrStorage: [Manager.Delete] it. A path that is not registered is no error.
func (m *Manager) Forget(ctx context.Context, path string) error {
	op := "forget image " + quote(path)
	path, err := absolute(path)
	if err != nil {
		return storageError(op, err)
	}
	switch _, err := os.Lstat(path); {
	case err == nil:
		return storageError(op, (&ImageError{Kind: errors.ErrStorage, Msg: "is still there", Fix: "delete it"}).at([]string{path}))
	case !errors.Is(err, fs.ErrNotExist):
		return storageError(op, err)
	}
	return storageError(op, m.files.DropFile(ctx, path))
}
