package snapshot

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// stateCopies keeps copies of what a VM remembers besides its disks, such as UEFI variables
// and a TPM's secrets: each in a folder of its own, whole or not there. The VM is not live.
type stateCopies struct{ state, copies string }

func copiesOf(r *vm.Reservation) stateCopies {
	state, copies := r.StateDirs()
	return stateCopies{state, copies}
}

// any reports whether the VM remembers anything now.
func (s stateCopies) any() (bool, error) { return isThere(s.state) }

// has reports whether there is a copy of this name.
func (s stateCopies) has(name string) (bool, error) { return isThere(filepath.Join(s.copies, name)) }

func isThere(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// save makes a copy, unless there is nothing to copy.
func (s stateCopies) save(ctx context.Context, name string) error {
	if there, err := s.any(); err != nil || !there {
		return err
	}
	if err := os.MkdirAll(s.copies, 0o700); err != nil {
		return err
	}
	return replace(ctx, s.state, filepath.Join(s.copies, name), filepath.Join(s.copies, name+".part"))
}

// load has the VM remember what a copy holds; nothing, if there is no copy.
func (s stateCopies) load(ctx context.Context, name string) error {
	there, err := s.has(name)
	if err != nil {
		return err
	}
	if !there {
		return os.RemoveAll(s.state)
	}
	return replace(ctx, filepath.Join(s.copies, name), s.state, filepath.Join(s.copies, "load.part"))
}

// drop deletes a copy.
func (s stateCopies) drop(name string) error {
	err := os.RemoveAll(filepath.Join(s.copies, name))
	_ = os.Remove(s.copies) // if it is empty now
	return err
}

// replace makes to a copy of the folder from, by way of part: who is interrupted leaves to as
// it was, as it should be, or missing.
func replace(ctx context.Context, from, to, part string) error {
	err := os.RemoveAll(part)
	if err == nil {
		err = copyTree(ctx, from, part)
	}
	if err == nil {
		err = os.RemoveAll(to)
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return nil
}

// copyTree copies folders and regular files, for this user only; sockets and the like belong
// to a program that ran.
func copyTree(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Mkdir(filepath.Join(to, rel), 0o700)
		case d.Type().IsRegular():
			return copyFile(path, filepath.Join(to, rel))
		}
		return nil
	})
}

func copyFile(from, to string) error {
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
