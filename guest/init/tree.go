package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
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
	defer u.closeDir()
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

// unpacker puts the entries of one tree in place. It keeps the folder of the
// last entry open: resolving a name below a root takes several system calls for
// each of its folders, and trees come folder by folder.
type unpacker struct {
	root    *os.Root
	dirName string
	dir     *os.Root
	dirs    []wire.Entry // their times and permissions are set last
}

func (u *unpacker) unpack(e wire.Entry, from *wire.In) error {
	if e.Kind == wire.EntryDir {
		u.dirs = append(u.dirs, e)
		return u.mkdir(e.Name)
	}
	parent, name := path.Split(path.Clean(e.Name))
	dir, err := u.open(parent)
	if err != nil {
		return err
	}
	switch e.Kind {
	case wire.EntryFile:
		return writeFile(dir, name, e, from)
	case wire.EntrySymlink:
		// A link's own time is of no use to anybody.
		return replace(dir, name, func() error { return dir.Symlink(e.Link, name) })
	default:
		return replace(dir, name, func() error { return u.root.Link(e.Link, e.Name) })
	}
}

// open returns a folder of the tree, made if the tree did not mention it.
func (u *unpacker) open(name string) (*os.Root, error) {
	if name == "" {
		return u.root, nil
	}
	if u.dir != nil && u.dirName == name {
		return u.dir, nil
	}
	u.closeDir()
	dir, err := u.root.OpenRoot(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = u.mkdir(name); err == nil {
			dir, err = u.root.OpenRoot(name)
		}
	}
	if err != nil {
		return nil, err
	}
	u.dir, u.dirName = dir, name
	return dir, nil
}

func (u *unpacker) closeDir() {
	if u.dir != nil {
		u.dir.Close()
		u.dir = nil
	}
}

func (u *unpacker) mkdir(name string) error {
	name = path.Clean(name)
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

// replace makes a file, removing what is in its place.
func replace(dir *os.Root, name string, create func() error) error {
	err := create()
	if errors.Is(err, fs.ErrExist) {
		if err = dir.Remove(name); err == nil {
			err = create()
		}
	}
	return err
}

// plainMode are the permissions that init's file mode mask lets through.
const plainMode = 0o755

func writeFile(dir *os.Root, name string, e wire.Entry, from *wire.In) (err error) {
	var f *os.File
	err = replace(dir, name, func() (err error) {
		f, err = dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.Mode.Perm()&plainMode)
		return err
	})
	if err != nil {
		return err
	}
	err = from.CopyN(f, e.Size)
	if err == nil && e.Mode&^plainMode != 0 {
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
func (o *operations) GetTree(ctx context.Context, name string, to *wire.Out) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = sendDir(name, ".", info, to)
	} else {
		err = sendFile(name, filepath.Base(name), info, to)
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
