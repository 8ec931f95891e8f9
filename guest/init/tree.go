package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/maqet/maqet/guest/wire"
)

// PutTree unpacks a tree. Every name is resolved by the kernel below dir, so
// that no link, whoever made it, leads outside.
func (o *operations) PutTree(ctx context.Context, dir string, from *wire.In) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := unpacker{root: root}
	for {
		e, err := wire.ReceiveEntry(from)
		if err == io.EOF {
			return u.finish()
		}
		if err == nil {
			err = u.unpack(e, from)
		}
		if err != nil {
			return err
		}
	}
}

// unpacker puts the entries of one tree in place.
type unpacker struct {
	root *os.Root
	dirs []wire.Entry // their times and permissions are set last
}

func (u *unpacker) unpack(e wire.Entry, from *wire.In) error {
	switch e.Kind {
	case wire.EntryDir:
		u.dirs = append(u.dirs, e)
		return u.mkdir(e.Name)
	case wire.EntryFile:
		return u.file(e, from)
	case wire.EntrySymlink:
		// A link's own time is of no use to anybody.
		return u.replace(e.Name, func() error { return u.root.Symlink(e.Link, e.Name) })
	default:
		return u.replace(e.Name, func() error { return u.root.Link(e.Link, e.Name) })
	}
}

func (u *unpacker) mkdir(name string) error {
	err := u.root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		return u.root.MkdirAll(name, 0o755)
	}
	if errors.Is(err, fs.ErrExist) {
		if info, statErr := u.root.Stat(name); statErr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

// replace makes a file, removing what is in its place and making folders that
// the tree did not mention.
func (u *unpacker) replace(name string, create func() error) error {
	err := create()
	if errors.Is(err, fs.ErrExist) {
		if err = u.root.Remove(name); err == nil {
			err = create()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err = u.mkdir(filepath.Dir(name)); err == nil {
			err = create()
		}
	}
	return err
}

func (u *unpacker) file(e wire.Entry, from *wire.In) (err error) {
	var f *os.File
	err = u.replace(e.Name, func() (err error) {
		f, err = u.root.OpenFile(e.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	if err = from.CopyN(f, e.Size); err == nil {
		err = f.Chmod(e.Mode)
	}
	if err == nil {
		err = setTimes(f, e.ModTime)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// finish sets what filling the folders would have spoiled.
func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		e := u.dirs[i]
		if err := u.root.Chmod(e.Name, e.Mode); err != nil {
			return err
		}
		if err := u.root.Chtimes(e.Name, time.Time{}, e.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// GetTree sends a file or folder.
func (o *operations) GetTree(ctx context.Context, path string, to *wire.Out) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = sendDir(path, ".", info, to)
	} else {
		err = sendFile(path, filepath.Base(path), info, to)
	}
	if err != nil {
		return err
	}
	return wire.SendEnd(to)
}

// sendDir sends a folder and what is in it, in the order of names.
func sendDir(path, name string, info fs.FileInfo, to *wire.Out) error {
	e := wire.Entry{Kind: wire.EntryDir, Name: name, Mode: info.Mode(), ModTime: info.ModTime()}
	if err := e.Send(to); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return err
		}
		child, below := path+"/"+entry.Name(), entry.Name()
		if name != "." {
			below = name + "/" + below
		}
		if info.IsDir() {
			err = sendDir(child, below, info, to)
		} else {
			err = sendFile(child, below, info, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sendFile sends a file or link; other kinds are left out.
func sendFile(path, name string, info fs.FileInfo, to *wire.Out) error {
	e := wire.Entry{Name: name, Mode: info.Mode(), ModTime: info.ModTime()}
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		e.Kind = wire.EntrySymlink
		var err error
		if e.Link, err = os.Readlink(path); err != nil {
			return err
		}
		return e.Send(to)
	case 0:
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		e.Kind, e.Size = wire.EntryFile, info.Size()
		if err := e.Send(to); err != nil {
			return err
		}
		if err := to.CopyN(f, e.Size); err != nil {
			return &fs.PathError{Op: "read", Path: path, Err: err}
		}
	}
	return nil
}
