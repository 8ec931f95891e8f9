package guest

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/errors"
)

// CopyTo copies a file or a folder tree of the host into the guest, as "cp -r" does:
// if guestPath is a folder, to a new entry of the same name in it; else to guestPath
// itself, whose parent folder must exist. An existing file is replaced, an existing
// folder is merged into; a folder never replaces a file nor a file a folder.
//
// A hostPath that is a symbolic link is followed; those in a tree are copied as links.
// Permissions and modification times are kept, the latter to the second at least.
// Everything belongs to the user that the guest's init or agent runs as. Sockets,
// devices and named pipes in a tree are left out. Memory use does not depend on sizes.
//
// A copy that fails or is cancelled is removed from the guest again, unless it was
// being merged into a folder that existed before.
func (m *Manager) CopyTo(ctx context.Context, ref, hostPath, guestPath string) error {
	return m.at(ref).copyTo(ctx, hostPath, guestPath)
}

func (e entrance) copyTo(ctx context.Context, hostPath, guestPath string) error {
	op := "copy " + hostPath + " to " + guestPath + " in VM"
	src, err := newSource(hostPath)
	if err != nil {
		return errors.Wrap(errors.ErrGuest, op, e.ref, err)
	}
	guest, err := cleanGuestPath(guestPath)
	if err != nil {
		return errors.Wrap(errors.ErrGuest, op, e.ref, err)
	}
	mustBeDir := strings.HasSuffix(guestPath, "/") && !src.isDir
	return e.do(ctx, op, func(ctx context.Context, w way) error {
		dir, name, err := placeInGuest(ctx, w, guest, src.name, mustBeDir)
		if err != nil {
			return err
		}
		existed, err := w.exists(ctx, path.Join(dir, name))
		if err != nil {
			return err
		}
		err = piped(ctx,
			func(ctx context.Context, to io.Writer) error { return pack(ctx, to, w.tarFormat(), src.path, name) },
			func(ctx context.Context, from io.Reader) error { return w.putTree(ctx, dir, from) })
		if err != nil && !existed {
			e.m.discard(w, path.Join(dir, name))
		}
		return err
	})
}

// source is what CopyTo copies.
type source struct {
	path  string // free of symbolic links
	name  string // as it was given
	isDir bool
}

func newSource(hostPath string) (source, error) {
	abs, err := filepath.Abs(hostPath)
	if err != nil {
		return source{}, err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return source{}, err
	}
	info, err := os.Lstat(real)
	if err != nil {
		return source{}, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return source{}, &fs.PathError{Op: "copy", Path: hostPath, Err: errNotCopied}
	}
	return source{path: real, name: filepath.Base(abs), isDir: info.IsDir()}, nil
}

// discard removes what is left of a copy, in the background: the call may have been
// cancelled. A guest without rm keeps it.
func (m *Manager) discard(w way, guestPath string) {
	m.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, tidyLimit)
		defer cancel()
		rm := Command{Args: []string{"rm", "-rf", "--", guestPath}, Stdout: io.Discard, Stderr: io.Discard}
		if end, err := w.exec(ctx, rm); err != nil || end.code != 0 {
			m.log.Debug("part of a copy left in the guest", "path", guestPath, "error", err)
		}
	})
}

// placeInGuest says into which folder of the guest, and by which name, a copy goes.
func placeInGuest(ctx context.Context, w way, guest, name string, mustBeDir bool) (dir, base string, err error) {
	isDir, err := w.isDir(ctx, guest)
	if err != nil {
		return "", "", err
	}
	if isDir {
		return guest, name, nil
	}
	dir = path.Dir(guest)
	if !mustBeDir {
		isDir, err = w.isDir(ctx, dir)
	}
	if err != nil {
		return "", "", err
	}
	if !isDir {
		return "", "", &fs.PathError{Op: "copy into", Path: dir, Err: fs.ErrNotExist}
	}
	return dir, path.Base(guest), nil
}

// CopyFrom copies a file or a folder tree of the guest to the host, as "cp -r" does:
// if hostPath is a folder, to a new entry of the same name in it; else to hostPath
// itself, whose parent folder must exist. Existing files are replaced one by one,
// each at once, and existing folders are merged into, all after everything has
// arrived: a copy that fails or is cancelled leaves the host as it was.
//
// Permissions (without set-user-ID, set-group-ID and sticky bits) and modification
// times are kept, those of links excepted. A guestPath that is a symbolic link is
// followed; those in a tree are copied as links; sockets, devices and named pipes are
// left out. Nothing the guest sends is ever written outside the target, through a link
// or otherwise.
func (m *Manager) CopyFrom(ctx context.Context, ref, guestPath, hostPath string) error {
	return m.at(ref).copyFrom(ctx, guestPath, hostPath)
}

func (e entrance) copyFrom(ctx context.Context, guestPath, hostPath string) error {
	op := "copy " + guestPath + " to the host from VM"
	guest, err := cleanGuestPath(guestPath)
	if err == nil && guest == "/" {
		err = &fs.PathError{Op: "copy", Path: guest, Err: fs.ErrInvalid}
	}
	if err != nil {
		return errors.Wrap(errors.ErrGuest, op, e.ref, err)
	}
	target, err := placeOnHost(hostPath, path.Base(guest))
	if err != nil {
		return errors.Wrap(errors.ErrGuest, op, e.ref, err)
	}
	return e.do(ctx, op, func(ctx context.Context, w way) error {
		s, err := newStage(target)
		if err != nil {
			return err
		}
		defer s.remove()
		err = piped(ctx,
			func(ctx context.Context, to io.Writer) error { return w.getTree(ctx, guest, to) },
			func(ctx context.Context, from io.Reader) error { return s.unpack(ctx, from) })
		if err != nil {
			return err
		}
		return s.commit()
	})
}

// placeOnHost is the path that a copy gets.
func placeOnHost(hostPath, name string) (string, error) {
	target, err := filepath.Abs(hostPath)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(target)
	switch {
	case err == nil && info.IsDir():
		return filepath.Join(target, name), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return target, nil
}

// piped runs both ends of a pipe and returns the first real reason why they failed.
func piped(ctx context.Context, write func(context.Context, io.Writer) error, read func(context.Context, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(ctx, w)
		w.CloseWithError(err)
		wrote <- err
	}()
	readErr := read(ctx, counted(ctx, r))
	r.CloseWithError(readErr)
	if readErr != nil {
		cancel()
	}
	writeErr := <-wrote
	// The writer's failure reaches the reader through the pipe, and the reader's end
	// reaches the writer as a closed pipe.
	if writeErr != nil && !errors.Is(writeErr, io.ErrClosedPipe) && !errors.Is(readErr, errLost) && !isContextError(writeErr) {
		return writeErr
	}
	return readErr
}

// cleanGuestPath returns an absolute path without "." and "..". A relative one begins
// at "/".
func cleanGuestPath(p string) (string, error) {
	p, err := absGuestPath(p)
	return path.Clean(p), err
}

// absGuestPath refuses what no system call takes, and keeps a path from being taken
// for an option.
func absGuestPath(p string) (string, error) {
	if p == "" || strings.ContainsRune(p, 0) {
		return p, &fs.PathError{Op: "use guest path", Path: p, Err: fs.ErrInvalid}
	}
	if !path.IsAbs(p) {
		p = "/" + p
	}
	return p, nil
}
