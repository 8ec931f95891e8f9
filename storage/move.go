package storage

import (
	"context"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
)

// MoveSpec says which image gets another name and owner.
type MoveSpec struct {
	Path string // a registered image below the root folder
	To   string // below the root folder; must not exist; its folder is made, with mode 0700
	For  For    // whose it is then; its kind stays, unless another is stated
}

// Move gives an image that this registry has another name and owner, without copying it. One
// that somebody uses, or that registered images stand on, is errors.ErrImageInUse; one that is
// not registered is [ErrUnregistered]. Whatever interrupts it, the image is there under one of
// the names.
func (m *Manager) Move(ctx context.Context, spec MoveSpec) (File, error) {
	file, err := m.move(ctx, spec)
	return file, storageError("move image "+quote(spec.Path)+" to "+quote(spec.To), err)
}

func (m *Manager) move(ctx context.Context, spec MoveSpec) (File, error) {
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
	if err := m.rename(ctx, root, from, to, file); err != nil {
		return File{}, errors.Join(err, m.files.DropFile(context.WithoutCancel(ctx), path))
	}
	file.Unfinished = false
	return file, m.settleMove(context.WithoutCancel(ctx), root, from, old, file)
}

// rename makes the new name: a link, because a renaming would replace what is there.
func (m *Manager) rename(ctx context.Context, root *os.Root, from, to string, file File) error {
	if _, err := root.Lstat(to); err == nil {
		return &os.PathError{Op: "move to", Path: file.Path, Err: os.ErrExist}
	}
	if err := m.files.PutFile(ctx, file); err != nil {
		return err
	}
	return root.Link(from, to)
}

// settleMove makes the new name the only one.
func (m *Manager) settleMove(ctx context.Context, root *os.Root, from, old string, file File) error {
	if err := m.files.PutFile(ctx, file); err != nil {
		return err
	}
	if err := removeIfThere(root, from); err != nil {
		return err
	}
	prune(root, filepath.Dir(from))
	return m.files.DropFile(ctx, old)
}

// Give gives a registered image another owner and disk; it stays where it is. Also one that is in
// use can be given. One that is not registered is [ErrUnregistered].
func (m *Manager) Give(ctx context.Context, path string, to For) error {
	return storageError("give image "+quote(path)+" to "+quote(to.Owner), m.give(ctx, path, to))
}

func (m *Manager) give(ctx context.Context, path string, to For) error {
	rel, err := m.local(path)
	if err != nil {
		return err
	}
	known, err := m.files.Files(ctx, FileFilter{Path: filepath.Join(m.root, rel)})
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return ErrUnregistered
	}
	file := known[0]
	file.Owner, file.Disk, file.Kind = to.Owner, to.Disk, to.as(file.Kind).Kind
	return m.files.PutFile(ctx, file)
}
