package libvirt

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
)

// eventHub has the events of a host on one connection, which is made when somebody wants them,
// and made anew when it is lost for as long as somebody does. Subscribing to them and leaving
// again says nothing to libvirtd. It is safe for concurrent use.
type eventHub struct {
	dial func(context.Context) (net.Conn, error)
	uri  func() string // the driver's
	log  *slog.Logger

	ctx   context.Context // the hub's own: the connection outlives who asked for it first
	stop  context.CancelFunc
	work  sync.WaitGroup
	hurry chan struct{} // somebody waits for a connection

	mu      sync.Mutex
	subs    map[libvirt.UUID]map[*subscription]struct{}
	attempt *eventAttempt // nil: there is a connection
	running bool
}

// eventAttempt is one at having a connection, whose outcome many can wait for.
type eventAttempt struct {
	done chan struct{}
	err  error // set before done is closed
}

// How events are listened to.
const (
	eventDialTime     = 30 * time.Second // for one attempt at having a connection
	eventPause        = 100 * time.Millisecond
	eventPauseMax     = 5 * time.Second
	eventPingInterval = 5 * time.Second
	eventPingCount    = 3
)

// newEventHub connects to nothing. It must be closed.
func newEventHub(dial func(context.Context) (net.Conn, error), uri func() string, log *slog.Logger) *eventHub {
	h := &eventHub{dial: dial, uri: uri, log: log, hurry: make(chan struct{}, 1), attempt: newEventAttempt(),
		subs: make(map[libvirt.UUID]map[*subscription]struct{})}
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

func newEventAttempt() *eventAttempt { return &eventAttempt{done: make(chan struct{})} }

// subscription is who follows one domain.
type subscription struct {
	// c gets the domain's events of the wanted kinds. Who is slow loses the newest ones.
	c chan libvirtrpc.Event
	// gap gets a value after events may have been lost, because the connection was, or because
	// c was full. Its owner looks how the domain is now.
	gap chan struct{}

	hub    *eventHub
	id     libvirt.UUID
	kinds  []libvirtrpc.Kind
	lost   atomic.Int64
	joined bool // subscribe has returned; guarded by hub.mu
}

// subscribe follows a domain, which need not exist: what happens to it after subscribe has
// returned is told. No kinds means all. queue is for how many events there is room; with 0 there
// are none, and gap tells that there was one.
//
// It waits for a connection if there is none, but for one attempt only:
// errors.ErrLibvirtConnection. It must be closed, which is cheap and waits for nothing.
func (h *eventHub) subscribe(ctx context.Context, vm string, id libvirt.UUID, queue int, kinds ...libvirtrpc.Kind) (*subscription, error) {
	s := &subscription{hub: h, id: id, kinds: kinds, c: make(chan libvirtrpc.Event, queue), gap: make(chan struct{}, 1)}
	a := h.add(s)
	if a == nil {
		return s, nil
	}
	var err error
	select {
	case <-a.done:
		err = a.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-h.ctx.Done():
		err = net.ErrClosed
	}
	h.mu.Lock()
	s.joined = true
	h.mu.Unlock()
	if err != nil {
		s.close()
		return nil, errors.Wrap(errors.ErrLibvirtConnection, "follow the events of VM", vm, err)
	}
	return s, nil
}

// add adds a subscription, and returns what it has to wait for; nil: nothing.
func (h *eventHub) add(s *subscription) *eventAttempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[s.id] == nil {
		h.subs[s.id] = make(map[*subscription]struct{})
	}
	h.subs[s.id][s] = struct{}{}
	if h.attempt == nil {
		s.joined = true
		return nil
	}
	if !h.running && h.ctx.Err() == nil {
		h.running = true
		h.work.Go(h.run)
	}
	select {
	case h.hurry <- struct{}{}:
	default: // somebody else is in a hurry, too
	}
	return h.attempt
}

// close ends the subscription. Nothing more is sent, and what was sent may be read still.
func (s *subscription) close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	subs := s.hub.subs[s.id]
	delete(subs, s)
	if len(subs) == 0 {
		delete(s.hub.subs, s.id)
	}
}

// dropped returns how many events there was no room for.
func (s *subscription) dropped() int64 { return s.lost.Load() }

// offer gives an event to the subscription if it wants it.
func (s *subscription) offer(e libvirtrpc.Event) {
	if len(s.kinds) > 0 && !slices.Contains(s.kinds, e.Kind) {
		return
	}
	select {
	case s.c <- e:
	default:
		s.lost.Add(1)
		s.missed()
	}
}

// missed tells that events may have been lost.
func (s *subscription) missed() {
	select {
	case s.gap <- struct{}{}:
	default: // it is told already
	}
}

// close ends the connection and waits for what used it.
func (h *eventHub) close() {
	h.mu.Lock()
	h.stop() // no further goroutine begins
	h.mu.Unlock()
	h.work.Wait()
}
