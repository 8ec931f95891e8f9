package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/maqet/maqet/guest/wire"
)

// operations does what hosts ask for over package wire.
type operations struct {
	reaper *reaper
	nets   *networks
	temps  atomic.Uint64 // numbers temporary files
}

var _ wire.Operations = (*operations)(nil)

// maxClockError is how far the guest's clock may be off before a session's
// start sets it.
const maxClockError = time.Second

// Start seeds the random generator and sets the clock, so that a guest that
// resumes from a saved state has neither stale.
func (o *operations) Start(s wire.Sync) {
	if len(s.Seed) > 0 {
		reseed(s.Seed)
	}
	if executable(busybox) == nil {
		go o.reaper.applets.load(o.reaper) // it ends with the program that it runs
	}
	if off := time.Since(s.Now); off > maxClockError || off < -maxClockError {
		setClock(s.Now)
	}
}

// Reseed adds random bytes and has the generator use them at once.
func (o *operations) Reseed(seed []byte) error { return reseed(seed) }

// SetTime sets the clock.
func (o *operations) SetTime(t time.Time) error { return setClock(t) }

// Stat describes a file without following a link.
func (o *operations) Stat(path string) (wire.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return wire.FileInfo{}, err
	}
	out := wire.FileInfo{Size: info.Size(), Mode: info.Mode(), ModTime: info.ModTime()}
	if info.Mode()&fs.ModeSymlink != 0 {
		out.Link, err = os.Readlink(path)
	}
	return out, err
}

// openFile opens without waiting for the other end of a named pipe, and closes
// the file when the context ends, which ends a read or write under way.
func openFile(ctx context.Context, path string, flag int, mode fs.FileMode) (f *os.File, closeFile func() error, err error) {
	f, err = os.OpenFile(path, flag|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	return f, func() error {
		if !stop() {
			return context.Cause(ctx)
		}
		return f.Close()
	}, nil
}

// ReadFile sends a file's content.
func (o *operations) ReadFile(ctx context.Context, path string, to *wire.Out) error {
	f, closeFile, err := openFile(ctx, path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer closeFile()
	_, err = to.ReadFrom(f)
	return err
}

// WriteFile replaces a file when its content is complete. What is no regular
// file, and what has no room for a new one beside it, is written in place.
func (o *operations) WriteFile(ctx context.Context, path string, mode fs.FileMode, from *wire.In) error {
	if mode == 0 {
		mode = 0o644
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays and its target is replaced
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	}
	exists := err == nil
	if exists && !info.Mode().IsRegular() {
		return writeInPlace(ctx, path, from)
	}
	temp := filepath.Join(filepath.Dir(path), ".maqet-"+strconv.FormatUint(o.temps.Add(1), 10))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		if exists && !errors.Is(err, syscall.ENOSPC) {
			return writeInPlace(ctx, path, from)
		}
		return &fs.PathError{Op: "open", Path: path, Err: errors.Unwrap(err)}
	}
	if err = fill(f, mode, from); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// fill writes a new file and closes it.
func fill(f *os.File, mode fs.FileMode, from *wire.In) error {
	_, err := from.WriteTo(f)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask is
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func writeInPlace(ctx context.Context, path string, from *wire.In) error {
	f, closeFile, err := openFile(ctx, path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = from.WriteTo(f)
	if closeErr := closeFile(); err == nil {
		err = closeErr
	}
	if err == io.EOF {
		return nil
	}
	return err
}
