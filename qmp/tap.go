package qmp

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Frame is one message on the wire, as a [Tapper] shows it.
type Frame struct {
	Time time.Time
	Sent bool   // to QEMU; otherwise from it
	Data []byte // one line; valid during the call only
	// Command is the one that this answers. Empty for requests, events, and what answers
	// nothing.
	Command string
}

// Tapper is a [Conn] whose frames can be watched; found by a type assertion. [Client]
// is one.
type Tapper interface {
	// Tap calls fn with every frame from now on, in their order within each
	// direction, until stop is called; it goes on over a new connection. fn is called
	// while the connection waits: it must be quick and must not call the connection.
	// Requests are shown with all their values, secrets included.
	Tap(fn func(Frame)) (stop func())
}

// taps are the functions that watch a client's frames. The zero value is ready.
type taps struct {
	order sync.Mutex // held from before a request is written until it was shown

	mu   sync.Mutex
	list atomic.Pointer[[]*tap] // replaced as a whole, nil when there is none
}

type tap struct{ fn func(Frame) }

func (t *taps) add(fn func(Frame)) (stop func()) {
	added := &tap{fn}
	t.change(func(list []*tap) []*tap { return append(list, added) })
	return func() {
		t.change(func(list []*tap) []*tap {
			return slices.DeleteFunc(list, func(have *tap) bool { return have == added })
		})
	}
}

func (t *taps) change(fn func([]*tap) []*tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*tap
	if old := t.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = fn(list); len(list) == 0 {
		t.list.Store(nil)
		return
	}
	t.list.Store(&list)
}

func (t *taps) any() bool { return t.list.Load() != nil }

// sending makes replies wait until their requests were shown; the result ends it. What is
// between must not wait for the peer.
func (t *taps) sending() (done func()) {
	t.order.Lock()
	return t.order.Unlock
}

// received shows a frame that came from QEMU. It costs one load when nobody watches.
func (t *taps) received(data []byte, command string) {
	if t.any() {
		t.order.Lock()
		defer t.order.Unlock()
		t.show(Frame{Data: data, Command: command})
	}
}

func (t *taps) show(f Frame) {
	list := t.list.Load()
	if list == nil {
		return
	}
	f.Time = time.Now()
	for _, tap := range *list {
		tap.fn(f)
	}
}
