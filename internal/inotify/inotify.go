//go:build linux

// Package inotify waits for changes in the file system (inotify(7)) without
// polling and without blocking an OS thread: the descriptor is non-blocking and Go's
// runtime poller waits for it.
package inotify

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one change.
type Event struct {
	Watch int    // what Add returned; -1 when the queue overflowed and events were lost
	Mask  uint32 // IN_MODIFY and so on
	Name  string // the entry that changed, when a folder is watched; else empty
}

// Watcher is one inotify instance. Its methods are for one goroutine at a time,
// except Close, which also ends a Wait of another goroutine.
type Watcher struct {
	f   *os.File
	buf [4096]byte // at least one event with the longest name, 16 + 255 + 1 bytes
}

// New makes a watcher without watches. It must be closed.
func New() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == unix.EMFILE {
		// The limit of instances a user is 128 on many systems, far below that of files.
		return nil, fmt.Errorf("too many inotify instances or open files (raise the sysctl fs.inotify.max_user_instances): %w", err)
	}
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &Watcher{f: os.NewFile(uintptr(fd), "inotify")}, nil
}

// Add watches path for the events in mask (IN_ constants of package unix). Changes
// made after it has returned are never missed. Adding a file again replaces its mask.
func (w *Watcher) Add(path string, mask uint32) (int, error) {
	var watch int
	err := w.control(func(fd int) (err error) {
		watch, err = unix.InotifyAddWatch(fd, path, mask)
		return err
	})
	if err != nil {
		return 0, &os.PathError{Op: "inotify_add_watch", Path: path, Err: err}
	}
	return watch, nil
}

// Remove ends a watch. One that the kernel has ended already, because the file is
// gone, is no error.
func (w *Watcher) Remove(watch int) error {
	err := w.control(func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(watch))
		return err
	})
	if err == unix.EINVAL {
		return nil
	}
	return os.NewSyscallError("inotify_rm_watch", err)
}

// control runs fn with the descriptor. File.Fd would not do: it makes the
// descriptor blocking.
func (w *Watcher) control(fn func(fd int) error) error {
	conn, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Wait returns the events that are there, or waits for the next. It ends with ctx's
// error when ctx ends first, and with os.ErrClosed after Close.
func (w *Watcher) Wait(ctx context.Context) ([]Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := w.f.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = w.f.SetReadDeadline(time.Unix(1, 0)) // fails only when closed: then the read ends as well
	})
	n, err := w.f.Read(w.buf[:])
	if !stop() {
		<-interrupted // or it would cut off a later Wait
	}
	if n > 0 {
		return parse(w.buf[:n]), nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, err
}

// Close ends all watches.
func (w *Watcher) Close() error { return w.f.Close() }

// parse decodes struct inotify_event: int32 wd, uint32 mask, uint32 cookie, uint32
// len, and len bytes of name padded with zeros.
func parse(b []byte) []Event {
	var events []Event
	for len(b) >= unix.SizeofInotifyEvent {
		length := int(binary.NativeEndian.Uint32(b[12:]))
		name := b[unix.SizeofInotifyEvent : unix.SizeofInotifyEvent+length]
		events = append(events, Event{
			Watch: int(int32(binary.NativeEndian.Uint32(b))),
			Mask:  binary.NativeEndian.Uint32(b[4:]),
			Name:  string(bytes.TrimRight(name, "\x00")),
		})
		b = b[unix.SizeofInotifyEvent+length:]
	}
	return events
}
