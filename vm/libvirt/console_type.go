package libvirt

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maqet/maqet/errors"
)

// typist is a connection whose writes are typed into a console. The console's stream is not its
// own: the mirror reads it, and shows it what comes. Closing it closes the stream for nobody.
type typist struct {
	net.Conn // the reading end of a pipe
	feed     net.Conn
	mirror   *consoleMirror
	stream   net.Conn
	work     sync.WaitGroup
	close    sync.Once
	closed   atomic.Bool
	end      sync.Once
	gone     chan struct{} // closed when nothing more is shown

	shown chan struct{} // has a value when there is more in text
	mu    sync.Mutex
	text  []byte
}

// maxShown is how much a typist may leave unread. What is older is forgotten, as the log has it.
const maxShown = 64 << 10

// dial returns a connection that types. There is one at a time.
func (m *consoleMirror) dial(ctx context.Context, wait bool) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := m.changed.Listen(ctx)
	for {
		select {
		case <-m.over:
			return nil, errEnded
		default:
		}
		t, err := m.take()
		if err == nil || !wait {
			return t, err
		}
		select {
		case _, open := <-changed:
			if !open && ctx.Err() == nil {
				return nil, errEnded
			}
		case <-m.over:
			return nil, errEnded
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// take returns a connection if that is possible now.
func (m *consoleMirror) take() (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stream == nil:
		return nil, errors.New("another process has the console, or libvirt is away")
	case m.typist != nil:
		return nil, errors.New("somebody else uses it")
	}
	t := &typist{mirror: m, stream: m.stream, shown: make(chan struct{}, 1), gone: make(chan struct{})}
	t.Conn, t.feed = net.Pipe()
	t.work.Go(t.pass)
	m.typist = t
	return t, nil
}

// Write implements net.Conn. It returns when the text is on its way to libvirtd.
func (t *typist) Write(p []byte) (int, error) {
	if t.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := t.stream.Write(p)
	if err != nil && t.closed.Load() {
		err = net.ErrClosed
	}
	return n, err
}

// SetDeadline implements net.Conn.
func (t *typist) SetDeadline(d time.Time) error {
	return errors.Join(t.SetReadDeadline(d), t.SetWriteDeadline(d))
}

// SetWriteDeadline implements net.Conn.
func (t *typist) SetWriteDeadline(d time.Time) error { return t.stream.SetWriteDeadline(d) }

// Close implements net.Conn. It lets the next one type.
func (t *typist) Close() error {
	t.close.Do(func() {
		t.closed.Store(true)
		_ = t.stream.SetWriteDeadline(time.Unix(1, 0)) // Write ends; else the stream is closed
		t.lost()
		_ = t.Conn.Close() // a pipe's never fails
		t.work.Wait()
		t.mirror.leave(t)
	})
	return nil
}

// leave is the end of the one who types.
func (m *consoleMirror) leave(t *typist) {
	_ = t.stream.SetWriteDeadline(time.Time{}) // the next one's; it fails if the stream is closed
	m.mu.Lock()
	m.typist = nil
	m.mu.Unlock()
	m.changed.Notify()
}

// lost ends what is read.
func (t *typist) lost() {
	t.end.Do(func() { close(t.gone) })
	_ = t.feed.Close() // a pipe's never fails
}

// show adds to what can be read. It waits for nobody.
func (t *typist) show(text []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	if over := len(t.text) - maxShown; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	select {
	case t.shown <- struct{}{}:
	default: // it is known already
	}
}

// pass writes what is shown into the pipe, until that is closed.
func (t *typist) pass() {
	for {
		select {
		case <-t.shown:
		case <-t.gone:
			return
		}
		t.mu.Lock()
		text := t.text
		t.text = nil
		t.mu.Unlock()
		if _, err := t.feed.Write(text); err != nil {
			return
		}
	}
}
