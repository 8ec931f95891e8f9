package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

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
	// Only after pidfd_open is the identity checked: what a pidfd holds can't change.
	return open(id.PID, func() (ID, error) { return id, check(id) })
}

// OpenChild takes hold of a child of this process that nobody has waited for yet: until
// then its PID can't mean another process, also when it has ended already.
func OpenChild(pid int) (*Handle, error) {
	return open(pid, func() (ID, error) {
		st, err := readStat(pid)
		if err != nil {
			return ID{}, err
		}
		boot, err := BootID()
		return ID{PID: pid, StartTime: st.start, BootID: boot}, err
	})
}

func open(pid int, identify func() (ID, error)) (*Handle, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	fd, err := unix.PidfdOpen(pid, 0) // always close-on-exec
	if errors.Is(err, unix.EINVAL) {  // the number is that of another process's thread now
		return nil, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return nil, gone(pid, fmt.Errorf("open process %d: %w", pid, err))
	}
	id, err := identify()
	if err == nil {
		// os.NewFile hands a non-blocking descriptor to the runtime's poller, so that the
		// wait for the exit costs a goroutine and no thread.
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
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

// ID returns which process it is.
func (h *Handle) ID() ID { return h.id }

// Args returns the command line of the process. Its error wraps ErrGone when it has
// ended; a successor with the same PID is never taken for it.
func (h *Handle) Args() ([]string, error) {
	for pause := argsPause; ; pause *= 2 {
		args, err := Args(h.id.PID)
		if err == nil {
			err = check(h.id) // it runs still, so the PID meant it all the time
		}
		if err != nil {
			return nil, err
		}
		if len(args) > 0 || pause > lastArgsPause {
			return args, nil
		}
		time.Sleep(pause)
	}
}

// A process that is just being executed has no command line for a moment (Linux,
// create_elf_tables in fs/binfmt_elf.c), and no event tells when it has.
const (
	argsPause     = 100 * time.Microsecond
	lastArgsPause = 10 * time.Millisecond
)

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
