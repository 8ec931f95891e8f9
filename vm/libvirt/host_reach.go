package libvirt

import (
	"sync"
	"time"
)

// reach tells whoever has guests on a host when its libvirt is lost and when it is back, and
// sees to it that it comes back.
type reach struct {
	h *host

	mu     sync.Mutex
	now    reachState
	told   map[chan reachState]struct{}
	nobody chan struct{} // closed when the last one has gone; nil: nobody is here
}

// reachState is whether libvirt is there.
type reachState struct {
	err   error     // why not, an errors.ErrLibvirtConnection; nil: it is
	since time.Time // when it was last heard of, while it is not there
}

// The pauses between two attempts to connect.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// subscribe returns a channel that gets the state when it changes, beginning with one in which
// libvirt is not there. What nobody has taken is replaced by the next: a state without an error
// means that libvirt was lost and is back, whether or not the loss was seen, so that events may
// have been missed. It is never closed. stop must be called.
//
// While somebody is subscribed, a connection is made again as soon as it can be.
func (r *reach) subscribe() (states <-chan reachState, stop func()) {
	c := make(chan reachState, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == nil {
		r.told = make(map[chan reachState]struct{})
	}
	r.told[c] = struct{}{}
	if r.now.err != nil {
		c <- r.now
	}
	if r.nobody == nil {
		nobody := make(chan struct{})
		r.nobody = nobody
		r.h.spawn(func() { r.look(nobody) }) // a closed host is never back
	}
	return c, sync.OnceFunc(func() { r.leave(c) })
}

func (r *reach) leave(c chan reachState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, c)
	if len(r.told) == 0 {
		close(r.nobody)
		r.nobody = nil
		r.now = reachState{} // the next one finds out for himself
	}
}

func (r *reach) set(s reachState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case s.err == nil && r.now.err == nil:
		return // it was there all the time
	case s.err != nil && r.now.err != nil:
		s.since = r.now.since
	}
	r.now = s
	for c := range r.told {
		select {
		case <-c:
		default:
		}
		c <- s // has room: nobody else writes
	}
}

// look keeps a connection until nobody wants to know any more or the host is closed.
func (r *reach) look(nobody <-chan struct{}) {
	pause := firstPause
	for {
		k, err := r.h.calls.get(r.h.ctx, nil)
		if err == nil {
			r.set(reachState{})
			pause = firstPause
			select {
			case <-k.wire.lost:
			case <-nobody:
				return
			case <-r.h.ctx.Done():
				return
			}
			if !k.retired.Load() {
				r.set(reachState{err: connectError(r.h.endpoint, k.wire.cause()), since: k.wire.lastHeard()})
			}
			continue
		}
		r.set(reachState{err: err, since: time.Now()})
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		case <-nobody:
			return
		case <-r.h.ctx.Done():
			return
		}
	}
}
