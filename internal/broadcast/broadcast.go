// Package broadcast wakes any number of listeners when something has changed.
package broadcast

import (
	"context"
	"sync"
)

// Hub wakes its listeners. The zero value works. It is safe for concurrent use.
type Hub struct {
	mu        sync.Mutex
	closed    bool
	listeners map[*listener]struct{}
}

type listener struct {
	c    chan struct{}
	stop func() bool // detaches it from its context
}

// Listen returns a channel that gets a value after each Notify; several may come as
// one. It is closed when ctx ends or the hub is closed.
func (h *Hub) Listen(ctx context.Context) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{c: make(chan struct{}, 1)}
	if h.closed {
		close(l.c)
		return l.c
	}
	if h.listeners == nil {
		h.listeners = make(map[*listener]struct{})
	}
	h.listeners[l] = struct{}{}
	l.stop = context.AfterFunc(ctx, func() { h.remove(l) })
	return l.c
}

// Notify wakes every listener, and never blocks.
func (h *Hub) Notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		select {
		case l.c <- struct{}{}:
		default: // a value is waiting already
		}
	}
}

// Close closes the channels of all listeners, and of those that come later.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for l := range h.listeners {
		l.stop()
		close(l.c)
	}
	h.listeners = nil
}

func (h *Hub) remove(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.listeners[l]; ok {
		delete(h.listeners, l)
		close(l.c)
	}
}
