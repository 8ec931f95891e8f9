//go:build linux

// Package flock locks by advisory lock files, between processes as well as between
// goroutines of one process: each lock has an open file of its own.
//
// The locks are Linux' open file description locks (fcntl(2), F_OFD_SETLK). They
// behave like those of flock(2), and besides can be asked for without being taken, so
// that [Held] never makes somebody else's [Try] fail.
//
// The kernel releases a lock when its process ends, however it ends. A lock file may be
// unlinked by who holds the lock, by [Lock.Remove] only: whoever gets the lock of a file
// that has gone from its path looks again, because nobody else sees that one.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/inotify"
)

// ErrHeld says that somebody else has the lock.
var ErrHeld = errors.New("lock is held by somebody else")

// Lock is a lock that is held. It is safe for concurrent use.
type Lock struct {
	mu   sync.Mutex
	file *os.File // nil when released
}

// Try takes the exclusive lock of the file at path, or returns [ErrHeld] at once. The
// file is made with mode 0600 if it is missing; its folder must exist, and it must
// not be a symbolic link.
func Try(path string) (*Lock, error) {
	// There is nothing to wait for, so nothing to cancel.
	return take(context.Background(), path, func(_ context.Context, f *os.File) error { return tryFile(f) })
}

// errStale says that a file is no longer the one at its path.
var errStale = errors.New("lock file has been replaced")

// take opens the file at path and locks it, again if it was removed meanwhile. Who has
// stopped waiting makes no new one.
func take(ctx context.Context, path string, lock func(context.Context, *os.File) error) (*Lock, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := open(path)
		if err != nil {
			return nil, err
		}
		if err = lock(ctx, f); err == nil {
			err = current(f)
		}
		if err == nil {
			return &Lock{file: f}, nil
		}
		if closeErr := f.Close(); closeErr != nil || !errors.Is(err, errStale) {
			return nil, errors.Join(err, closeErr)
		}
	}
}

// current returns errStale if f is not the file at its path. What is at the path now will
// be opened, and refused if it is no lock file.
func current(f *os.File) error {
	ours, err := f.Stat()
	if err != nil {
		return err
	}
	switch there, err := os.Lstat(f.Name()); {
	case errors.Is(err, os.ErrNotExist):
		return errStale
	case err != nil:
		return err
	case !os.SameFile(ours, there):
		return errStale
	}
	return nil
}

// Wait takes the exclusive lock of the file at path as soon as it is free; the order
// among those who wait is not defined. When ctx ends first it returns ctx's error
// and holds nothing.
//
// A blocked flock can't be interrupted, so Wait does not block in it: it tries, and
// tries again each time inotify says that somebody closed the file. No goroutine and
// no thread is left behind when ctx ends.
func Wait(ctx context.Context, path string) (*Lock, error) {
	return take(ctx, path, waitFile)
}

// Held reports whether anybody, this process included, holds the lock of the file at
// path at this moment. A missing file is not held, and not made.
func Held(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lk := wholeFile(unix.F_WRLCK)
	err = control(f, func(fd uintptr) error { return unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lk) })
	return err == nil && lk.Type != unix.F_UNLCK, err
}

// Unlock releases the lock. Calling it again does nothing, and so does calling it on
// a nil Lock.
func (l *Lock) Unlock() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unlock()
}

// Remove removes the lock's file and releases the lock, for what will not be locked again;
// one who does so all the same, or who waits already, makes a new file. It does what Unlock
// does where the lock is not held.
func (l *Lock) Remove() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := os.Remove(l.file.Name())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.unlock())
}

func (l *Lock) unlock() error {
	if l.file == nil {
		return nil
	}
	// Unlocked before it is closed, so that those whom the close wakes find it free,
	// and so that a child that inherited the descriptor does not keep it.
	lk := wholeFile(unix.F_UNLCK)
	err := control(l.file, func(fd uintptr) error { return unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lk) })
	err = errors.Join(err, l.file.Close())
	l.file = nil
	return err
}

// open opens the lock file. O_NONBLOCK keeps a FIFO from hanging it.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("lock file %q is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func tryFile(f *os.File) error {
	lk := wholeFile(unix.F_WRLCK)
	err := control(f, func(fd uintptr) error { return unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lk) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrHeld
	}
	return err
}

// wholeFile describes a lock of type kind on all bytes that a file can ever have.
func wholeFile(kind int16) unix.Flock_t { return unix.Flock_t{Type: kind} }

// control runs fn with f's descriptor, which a concurrent Close can't take away.
func control(f *os.File, fn func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = fn(fd) }); err != nil {
		return err
	}
	if inner != nil {
		return &os.PathError{Op: "fcntl", Path: f.Name(), Err: inner}
	}
	return nil
}

// waitFile takes the lock of f, trying each time the file is closed somewhere.
func waitFile(ctx context.Context, f *os.File) error {
	if err := tryFile(f); !errors.Is(err, ErrHeld) {
		return err
	}
	w, err := inotify.New()
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Add(f.Name(), unix.IN_CLOSE|unix.IN_DONT_FOLLOW)
	if stale := current(f); stale != nil { // else it is this file that is watched
		return stale
	}
	if err != nil {
		return err
	}
	pause := firstPause
	for {
		if err := tryFile(f); !errors.Is(err, ErrHeld) {
			return err
		}
		woken, err := waitEvent(ctx, w, pause)
		switch {
		case err != nil:
			return err
		case woken:
			pause = firstPause
		default:
			pause *= 2
		}
	}
}

// When a process dies, the kernel reports the close just before it drops the lock
// (__fput in fs/file_table.c), and no second event follows. So after each event the
// lock is tried again a few times, from firstPause after it to lastPause after it.
const (
	firstPause = 100 * time.Microsecond
	lastPause  = time.Second
)

// waitEvent waits for the next event, at most for pause if that is not beyond
// lastPause, and reports whether there was one.
func waitEvent(ctx context.Context, w *inotify.Watcher, pause time.Duration) (woken bool, err error) {
	if pause > lastPause {
		_, err := w.Wait(ctx)
		return err == nil, err
	}
	short, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	_, err = w.Wait(short)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}
