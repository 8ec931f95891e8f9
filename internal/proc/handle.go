package proc

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Handle holds one process by a pidfd (pidfd_open(2), Linux 5.3): it means that
// process for as long as it is open, also after the PID is used again. Its methods are
// safe for concurrent use.
type Handle struct {
	id   ID
	file *os.File // the pidfd, watched by the runtime's poller
	done chan struct{}
	// watched is closed when the goroutine that waits for the exit has ended.
	watched chan struct{}
}

// Open takes hold of the process id. Its error wraps ErrGone when it has ended.
func Open(id ID) (*Handle, error) {
	fd, err := unix.PidfdOpen(id.PID, 0) // always close-on-exec
	if err != nil {
		return nil, gone(id.PID, fmt.Errorf("open process %d: %w", id.PID, err))
	}
	// Only now is the identity checked: what the pidfd holds can't change any more.
	if err := check(id); err != nil {
		unix.Close(fd)
		return nil, err
	}
	// os.NewFile hands a non-blocking descriptor to the runtime's poller, so that the
	// wait for the exit costs a goroutine and no thread.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open process %d: %w", id.PID, err)
	}
	h := &Handle{
		id:      id,
		file:    os.NewFile(uintptr(fd), "pidfd"),
		done:    make(chan struct{}),
		watched: make(chan struct{}),
	}
	go h.watch()
	return h, nil
}

// watch closes done when the process ends. Close ends it early.
func (h *Handle) watch() {
	defer close(h.watched)
	conn, err := h.file.SyscallConn()
	if err != nil {
		return
	}
	// A pidfd becomes readable when its process ends.
	if conn.Read(readable) == nil {
		close(h.done)
	}
}

func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// ID returns what Open was given.
func (h *Handle) ID() ID { return h.id }

// Done is closed when the process has ended. Its parent may have yet to reap it. It is
// not closed by Close.
func (h *Handle) Done() <-chan struct{} { return h.done }

// Wait returns nil when the process has ended, or ctx's error, or os.ErrClosed after
// Close.
func (h *Handle) Wait(ctx context.Context) error {
	select {
	case <-h.done:
		return nil
	case <-h.watched:
		select {
		case <-h.done:
			return nil
		default:
			return os.ErrClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Signal sends sig to the process. Its error wraps ErrGone when the process is reaped;
// to a zombie a signal is lost without an error. After Close it is os.ErrClosed.
func (h *Handle) Signal(sig unix.Signal) error {
	conn, err := h.file.SyscallConn()
	if err != nil {
		return os.ErrClosed
	}
	var sent error
	err = conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if err != nil {
		return os.ErrClosed // the only reason why Control fails
	}
	if sent != nil {
		return gone(h.id.PID, fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), h.id.PID, sent))
	}
	return nil
}

// Reap collects the exit status of a process that has ended and is a child of this one.
// It reports false for other processes, for a child that runs, and the second time.
func (h *Handle) Reap() (unix.WaitStatus, bool) {
	var ws unix.WaitStatus
	for {
		pid, err := unix.Wait4(h.id.PID, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return ws, err == nil && pid == h.id.PID
	}
}

// Close lets go of the process and waits for the goroutine that watched it. It is
// idempotent and does not affect the process.
func (h *Handle) Close() error {
	err := h.file.Close()
	<-h.watched
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func isNoProcess(err error) bool { return errors.Is(err, unix.ESRCH) }
