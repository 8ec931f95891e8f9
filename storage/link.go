package storage

import (
	"context"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
)

// LinkSpec says which image gets a second name and owner.
type LinkSpec struct {
	Path string // a registered image below the root folder
	To   string // below the root folder; must not exist; its folder is made, with mode 0700
	For  For    // whose it is then; its kind stays, unless another is stated
}

// Link gives an image that this registry has a second name and owner, without copying it: it is
// gone when it is deleted under both. Nobody must write it under either: it is for an image that
// changes hands, whose old owner's name is deleted once the new one's is settled, so that a crash
// in between loses nothing.
//
// One that somebody uses, or that registered images stand on, is errors.ErrImageInUse; one that
// is not registered is [ErrUnregistered].
func (m *Manager) Link(ctx context.Context, spec LinkSpec) (File, error) {
	file, err := m.link(ctx, spec)
	return file, storageError("link image "+quote(spec.Path)+" to "+quote(spec.To), err)
}

func (m *Manager) link(ctx context.Context, spec LinkSpec) (File, error) {
	from, err := m.local(spec.Path)
	if err != nil {
		return File{}, err
	}
	to, err := m.local(spec.To)
	if err != nil {
		return File{}, err
	}
	old, path := filepath.Join(m.root, from), filepath.Join(m.root, to)
	known, err := m.files.Files(ctx, FileFilter{Path: old})
	switch {
	case err != nil:
		return File{}, err
	case len(known) == 0:
		return File{}, ErrUnregistered
	case known[0].Unfinished:
		return File{}, errors.New("it is not finished")
	}
	hold, err := unused(old)
	if err != nil {
		return File{}, err
	}
	defer hold.Release()
	if err := m.noOverlays(ctx, old); err != nil {
		return File{}, err
	}
	root, err := os.OpenRoot(m.root) // which no symbolic link below it can lead out of
	if err != nil {
		return File{}, err
	}
	defer root.Close()
	file := known[0]
	file.Path, file.Owner, file.Disk, file.Unfinished = path, spec.For.Owner, spec.For.Disk, true
	file.Kind = spec.For.as(file.Kind).Kind
	if err := root.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return File{}, err
	}
	if _, err := root.Lstat(to); err == nil {
		return File{}, &os.PathError{Op: "link to", Path: path, Err: os.ErrExist}
	}
	if err := m.files.PutFile(ctx, file); err != nil {
		return File{}, err
	}
	if err := root.Link(from, to); err != nil {
		return File{}, errors.Join(err, m.files.DropFile(context.WithoutCancel(ctx), path))
	}
	file.Unfinished = false
	return file, m.files.PutFile(context.WithoutCancel(ctx), file)
}
