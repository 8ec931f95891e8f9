package main

import (
	"context"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/maqet/maqet/errors"
)

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// rawTerminal makes a terminal hand on each key as it is, Ctrl-C included, until restore
// is called.
func rawTerminal(f *os.File) (restore func() error, err error) {
	fd := int(f.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return func() error { return term.Restore(fd, before) }, nil
}

// stdin returns standard input as a reader whose Read ends when ctx does. stop must be
// called: it waits for a Read that is under way.
func (a *app) stdin(ctx context.Context) (r io.Reader, stop func() error, err error) {
	f, ok := a.in.(*os.File)
	if !ok {
		return a.in, func() error { return nil }, nil
	}
	wakeRead, wakeWrite, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	i := &interruptible{fd: int(f.Fd()), wake: wakeRead}
	wake := sync.OnceFunc(func() { _ = wakeWrite.Close() }) // its end is what is waited for
	forget := context.AfterFunc(ctx, wake)
	return i, func() error {
		forget()
		wake()
		return i.close()
	}, nil
}

// interruptible reads a file, a terminal mostly, until it is woken. The runtime's own
// poller would need the file in non-blocking mode, which a terminal has for all who
// have it open.
type interruptible struct {
	fd   int
	wake *os.File // readable when it is over

	mu     sync.Mutex // held by Read
	closed bool
}

// Read implements io.Reader. It ends with os.ErrClosed once it was woken.
func (i *interruptible) Read(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for !i.closed {
		fds := []unix.PollFd{{Fd: int32(i.fd), Events: unix.POLLIN}, {Fd: int32(i.wake.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			if err == unix.EINTR {
				continue
			}
			return 0, os.NewSyscallError("poll", err)
		}
		if fds[1].Revents != 0 {
			break
		}
		n, err := unix.Read(i.fd, p)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
	return 0, os.ErrClosed
}

func (i *interruptible) close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	i.closed = true
	return i.wake.Close()
}

// ended reports whether err only says that a stream is over.
func ended(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed)
}
