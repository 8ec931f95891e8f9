package wire

import (
	"io"
	"sync"
)

// writer owns the writing side of a connection.
//
// The host's has a goroutine that frames are handed to, so that a guest that
// stops reading can be given up by whoever waits, and control frames overtake
// bulk data. The guest's is direct: senders write themselves, one at a time. It
// has nobody to answer to while the host does not read, and switching between
// goroutines for each frame would cost an emulated guest a third of its speed.
type writer struct {
	conn    io.Writer
	direct  bool
	mu      sync.Mutex // held to write when direct
	control chan item
	data    chan item
	quit    chan struct{} // closed to end the goroutine
	done    chan struct{} // closed when it has ended
	once    sync.Once
	err     error // why it ended; read after done
}

// item is a sealed frame, or for a session's first message its bytes, and the
// session it belongs to.
type item struct {
	peer  *peer
	frame *frame
	raw   []byte
}

func newWriter(conn io.Writer) *writer {
	w := &writer{
		conn:    conn,
		control: make(chan item, 64),
		data:    make(chan item, 4), // what a control frame may have to wait behind
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go w.run()
	return w
}

// newDirectWriter returns a writer without a goroutine.
func newDirectWriter(conn io.Writer) *writer {
	return &writer{conn: conn, direct: true, done: make(chan struct{})}
}

// writeNow sends an item from the caller's goroutine.
func (w *writer) writeNow(it item) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(it)
	return w.err
}

// stop ends the goroutine; it is back once a write that is under way returns.
func (w *writer) stop() { w.once.Do(func() { close(w.quit) }) }

func (w *writer) run() {
	defer close(w.done)
	for w.err == nil {
		select {
		case it := <-w.control:
			w.write(it)
		case it := <-w.data:
			// A stream's opening went to control before its data went here.
			w.drainControl()
			w.write(it)
		case <-w.quit:
			return
		}
	}
}

func (w *writer) drainControl() {
	for {
		select {
		case it := <-w.control:
			w.write(it)
		default:
			return
		}
	}
}

// write sends one item, unless its session has ended: then nobody wants it.
func (w *writer) write(it item) {
	if it.frame != nil {
		defer it.frame.release()
		it.raw = it.frame.buf
	}
	if w.err != nil || it.peer.ended() {
		return
	}
	_, w.err = w.conn.Write(it.raw)
}
