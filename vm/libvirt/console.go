package libvirt

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/broadcast"
	"github.com/maqet/maqet/internal/flock"
)

// consoleMirror copies what a domain's console prints into a file, and lets its process type.
// libvirt gives a console to one client at a time: that is the process with the lock of the file
// beside it. Others wait for the lock, and take over when that process ends. What is printed while
// nobody has it is lost.
type consoleMirror struct {
	vm   string
	path string
	open func(context.Context) (net.Conn, error) // a stream of the console
	hint <-chan struct{}                         // has a value when the console may be there again
	log  *slog.Logger

	ctx     context.Context // the mirror's life
	stop    context.CancelFunc
	work    sync.WaitGroup
	over    chan struct{} // closed when the guest is gone
	goOver  func()
	drained chan struct{} // closed when all of it is in the file

	changed broadcast.Hub // of what follows
	mu      sync.Mutex
	stream  net.Conn // nil: it is not ours, or libvirtd is away
	typist  *typist  // nil: nobody
}

// Pauses before a console is opened again that is not there, or that somebody else has: nothing
// tells when they leave.
const (
	consolePause    = 100 * time.Millisecond
	consolePauseMax = 5 * time.Second
)

// newConsoleMirror does nothing yet. close must be called after start.
func newConsoleMirror(vm, path string, open func(context.Context) (net.Conn, error), hint <-chan struct{}, log *slog.Logger) *consoleMirror {
	m := &consoleMirror{vm: vm, path: path, open: open, hint: hint, log: log, over: make(chan struct{}), drained: make(chan struct{})}
	m.goOver = sync.OnceFunc(func() { close(m.over) })
	m.ctx, m.stop = context.WithCancel(context.Background()) // it outlives the call that begins it
	return m
}

// start begins. When it returns without an error, nothing that the guest prints afterwards is
// lost, or somebody else has the console.
func (m *consoleMirror) start(ctx context.Context) error {
	if err := makeLogFolder(m.path, m.vm); err != nil {
		return err
	}
	lock, err := flock.Try(m.lockPath())
	if errors.Is(err, flock.ErrHeld) {
		m.work.Go(func() { m.run(nil, nil, nil) })
		return nil
	}
	var file *os.File
	if err == nil {
		file, err = m.openFile()
	}
	var stream net.Conn
	if err == nil {
		if stream, err = m.open(ctx); busy(err) {
			err = nil // run tries again
		}
	}
	if err != nil {
		if file != nil {
			_ = file.Close() // nothing was written
		}
		return errors.Wrap(errors.ErrBackend, "keep the console of VM", m.vm, errors.Join(err, lock.Unlock()))
	}
	m.set(stream) // who types need not wait for the goroutine
	m.work.Go(func() { m.run(lock, file, stream) })
	return nil
}

// makeLogFolder makes the folder of a console's file.
func makeLogFolder(path, vm string) error {
	return errors.Wrap(errors.ErrBackend, "keep the console of VM", vm, os.MkdirAll(filepath.Dir(path), 0o700))
}

func (m *consoleMirror) lockPath() string { return filepath.Join(filepath.Dir(m.path), consoleLock) }

func (m *consoleMirror) openFile() (*os.File, error) {
	return os.OpenFile(m.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
}

// drain is told that the guest is gone. What it returns is closed when all that the guest has
// printed is in the file, be it by another process; or when the mirror is closed.
func (m *consoleMirror) drain() <-chan struct{} {
	m.goOver()
	return m.drained
}

// close lets go of the console at once.
func (m *consoleMirror) close() {
	m.stop()
	m.work.Wait()
}

// run is the mirror's goroutine. It begins with what start has got already.
func (m *consoleMirror) run(lock *flock.Lock, file *os.File, stream net.Conn) {
	defer close(m.drained)
	defer m.changed.Close()
	var err error
	if lock == nil {
		if lock, err = flock.Wait(m.ctx, m.lockPath()); err == nil {
			file, err = m.openFile()
		}
	}
	if err == nil {
		m.follow(file, stream)
		err = file.Close()
	}
	if err = errors.Join(err, lock.Unlock()); err != nil && m.ctx.Err() == nil {
		m.log.Warn("console not kept", "vm", m.vm, "error", err)
	}
}

// follow copies from one stream after the other, until the guest is gone.
func (m *consoleMirror) follow(file *os.File, stream net.Conn) {
	pause := consolePause
	for {
		var err error
		if stream == nil {
			select {
			case <-m.over:
				return
			default:
			}
			stream, err = m.open(m.ctx)
		}
		if err == nil {
			pause = consolePause
			if err = m.copy(file, stream); err == nil {
				// The guest is about to be gone, as a rule, and libvirt about to know it.
				// The name of its terminal can be another guest's soon.
				pause = consolePauseMax
			}
			stream = nil
			select {
			case <-m.hint: // of earlier
			default:
			}
		}
		m.log.Debug("console lost", "vm", m.vm, "error", err, "pause", pause)
		if !m.rest(pause) {
			return
		}
		pause = min(2*pause, consolePauseMax)
	}
}

// rest waits before the console is opened again. It returns false if that makes no sense any
// more.
func (m *consoleMirror) rest(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.hint:
	case <-m.over:
		return false
	case <-m.ctx.Done():
	}
	return m.ctx.Err() == nil
}

// copy copies until the stream ends, and returns why.
func (m *consoleMirror) copy(file *os.File, stream net.Conn) error {
	defer context.AfterFunc(m.ctx, func() { _ = stream.Close() })()
	m.set(stream)
	defer m.set(nil)
	buf := make([]byte, 32<<10)
	var failed error
	for {
		n, err := stream.Read(buf)
		if n > 0 {
			if _, writeErr := file.Write(buf[:n]); writeErr != nil && failed == nil {
				// The guest goes on. It must not wait for this file.
				failed = writeErr
				m.log.Warn("console not kept in full", "vm", m.vm, "error", writeErr)
			}
			m.show(buf[:n])
		}
		if err != nil {
			_ = stream.Close() // nothing more can be lost
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

// set makes stream the one that is typed into. What was typed into another one ends.
func (m *consoleMirror) set(stream net.Conn) {
	m.mu.Lock()
	m.stream = stream
	typist := m.typist
	m.mu.Unlock()
	if stream == nil && typist != nil {
		typist.lost()
	}
	m.changed.Notify()
}

// show gives what was printed to who types.
func (m *consoleMirror) show(text []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.typist != nil {
		m.typist.show(text)
	}
}
