package qmp

import (
	"context"
	"slices"
	"sync"
)

// defaultQueue is how many events wait for a subscriber that does not read. One that
// does read, but is not scheduled for some 10 ms while events come as fast as they can be
// parsed, has about that many to catch up with.
const defaultQueue = 8192

// Parts of a queue that are made at first; spill grows with need.
const (
	handedQueue = 64
	firstSpill  = 64
)

// Subscription is one subscriber's bounded queue of events. It never holds up the
// connection: when the queue is full the oldest event that was not yet handed to C is
// dropped, and the one after it says how many went (Event.Dropped).
type Subscription struct {
	c     chan Event // the older part of the queue, which the subscriber can already read
	names []string   // nil: all
	hub   *hub
	quit  chan struct{} // closed by Close: the pump gives up

	mu      sync.Mutex
	spill   []Event // the younger part, a ring; made when c is full for the first time
	room    int     // how far spill may grow
	head, n int     // of spill
	pumping bool    // a goroutine moves events from spill to c
	idle    sync.WaitGroup
	ended   bool        // nothing is queued any more
	closed  bool        // c is closed
	unwatch func() bool // stops closeOn's watch
}

func newSubscription(h *hub, size int, names []string) *Subscription {
	handed := max(min(size/2, handedQueue), 1)
	return &Subscription{
		c:     make(chan Event, handed),
		names: slices.Clone(names),
		hub:   h,
		quit:  make(chan struct{}),
		room:  max(size-handed, 1),
	}
}

// C delivers the events. It is closed when the subscription or the connection ends;
// events that were queued before the connection ended are still delivered.
func (s *Subscription) C() <-chan Event { return s.c }

// Close ends the subscription; what C already holds can still be read. It is
// idempotent and safe for concurrent use.
func (s *Subscription) Close() {
	s.hub.remove(s)
	s.mu.Lock()
	s.ended = true
	select {
	case <-s.quit:
	default:
		close(s.quit)
	}
	s.mu.Unlock()
	s.idle.Wait()
	s.finish()
}

// closeOn closes the subscription when ctx ends, without a goroutine of its own.
func (s *Subscription) closeOn(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.Close)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		stop()
		return
	}
	s.unwatch = stop
}

func (s *Subscription) wants(name string) bool {
	return len(s.names) == 0 || name == EventGap || slices.Contains(s.names, name)
}

// deliver queues e. It never blocks.
func (s *Subscription) deliver(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if !s.pumping {
		select {
		case s.c <- e:
			return
		default:
		}
	}
	if s.n == len(s.spill) && s.n < s.room {
		s.grow()
	}
	if s.n == len(s.spill) {
		lost := s.pop().Dropped + 1
		if s.n > 0 {
			s.spill[s.head].Dropped += lost
		} else {
			e.Dropped += lost
		}
	}
	s.spill[(s.head+s.n)%len(s.spill)] = e
	s.n++
	if !s.pumping {
		s.pumping = true
		s.idle.Add(1)
		go s.pump()
	}
}

// grow makes room in spill. The caller holds mu.
func (s *Subscription) grow() {
	larger := make([]Event, min(max(firstSpill, 2*len(s.spill)), s.room))
	n := copy(larger, s.spill[s.head:])
	copy(larger[n:], s.spill[:s.head])
	s.spill, s.head = larger, 0
}

// pop takes the oldest event of spill. The caller holds mu and knows that there is one.
func (s *Subscription) pop() Event {
	e := s.spill[s.head]
	s.spill[s.head] = Event{}
	s.head = (s.head + 1) % len(s.spill)
	s.n--
	return e
}

// pump moves events from spill to c until spill is empty. It runs only while the
// subscriber is so far behind that c is full; Close waits for it.
func (s *Subscription) pump() {
	defer s.idle.Done()
	for {
		s.mu.Lock()
		if s.n == 0 {
			s.pumping = false
			if len(s.spill) > firstSpill { // a flood is over
				s.spill, s.head = nil, 0
			}
			ended := s.ended
			s.mu.Unlock()
			if ended {
				s.finish()
			}
			return
		}
		e := s.pop()
		s.mu.Unlock()
		select {
		case s.c <- e:
		case <-s.quit:
			s.mu.Lock()
			s.pumping = false
			s.mu.Unlock()
			return
		}
	}
}

// end stops the intake; c is closed as soon as the subscriber has been handed all
// that is queued.
func (s *Subscription) end() {
	s.mu.Lock()
	s.ended = true
	pumping := s.pumping
	s.mu.Unlock()
	if !pumping {
		s.finish()
	}
}

// finish closes c, once.
func (s *Subscription) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.unwatch != nil {
		s.unwatch()
	}
	close(s.c)
}

// hub hands each event to the subscriptions that want it.
type hub struct {
	queue int // size of each subscription's queue

	mu    sync.Mutex
	ended bool // subscriptions made now are closed from the start
	subs  []*Subscription
}

func newHub(queue int) *hub { return &hub{queue: queue} }

func (h *hub) subscribe(names []string) *Subscription {
	s := newSubscription(h, h.queue, names)
	h.mu.Lock()
	ended := h.ended
	if !ended {
		h.subs = append(h.subs, s)
	}
	h.mu.Unlock()
	if ended {
		s.end()
	}
	return s
}

func (h *hub) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = slices.DeleteFunc(h.subs, func(have *Subscription) bool { return have == s })
}

func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.subs {
		if s.wants(e.Name) {
			s.deliver(e)
		}
	}
}

// end ends every subscription and those that are still to come, until reopen.
func (h *hub) end() {
	h.mu.Lock()
	h.ended = true
	subs := slices.Clone(h.subs)
	h.mu.Unlock()
	for _, s := range subs {
		s.end()
	}
}

// reopen lets subscriptions be made again, for a new connection.
func (h *hub) reopen() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = false
	h.subs = slices.DeleteFunc(h.subs, func(s *Subscription) bool { return s.isEnded() })
}

// close ends every subscription at once and waits for their goroutines.
func (h *hub) close() {
	h.mu.Lock()
	h.ended = true
	subs := slices.Clone(h.subs)
	h.mu.Unlock()
	for _, s := range subs {
		s.Close()
	}
}

func (s *Subscription) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}
