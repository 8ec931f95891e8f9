package libvirt

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

// line makes calls, on a connection that it makes when there is none and replaces when it is
// lost, wedged or full.
type line struct {
	h *host
	// patience is how long a call waits for its turn until it gets a further connection.
	patience time.Duration
	// lasting connections are closed by the host's end only: guests live as long as they do.
	lasting bool

	mu      sync.Mutex
	current *link              // gets new calls; nil: there is none
	links   map[*link]struct{} // all that are open
	attempt *attempt           // at making a connection; nil: none
	down    error              // why the last attempt failed; nil: it did not
}

// attempt is at making a connection. Everybody who needs one waits for the same.
type attempt struct {
	done chan struct{}
	link *link
	err  error
}

const (
	// connectLimit bounds each attempt to connect.
	connectLimit = 15 * time.Second
	// hopeLimit is how long a call waits for a connection to a host that was last out of reach.
	hopeLimit = time.Second
)

// get returns a connection. Nobody waits for it longer than his own context.
func (n *line) get(ctx context.Context) (*link, error) {
	n.mu.Lock()
	if k := n.current; k != nil && k.wire.cause() == nil {
		n.mu.Unlock()
		return k, nil
	}
	if n.attempt == nil {
		n.attempt = &attempt{done: make(chan struct{})}
		if !n.h.spawn(n.connect) {
			n.attempt = nil
			n.mu.Unlock()
			return nil, errClosed
		}
	}
	a, down := n.attempt, n.down
	n.mu.Unlock()

	var hopeless <-chan time.Time
	if down != nil {
		t := time.NewTimer(hopeLimit)
		defer t.Stop()
		hopeless = t.C
	}
	select {
	case <-a.done:
		return a.link, a.err
	case <-ctx.Done():
		return nil, ended(ctx)
	case <-hopeless:
		return nil, down
	}
}

// connect makes the attempt.
func (n *line) connect() {
	ctx, cancel := context.WithTimeoutCause(n.h.ctx, min(connectLimit, n.h.opts.Timeout), errNoAnswer)
	defer cancel()
	k, err := openLink(ctx, n.h.dial, n.h.driverURI())
	if err != nil {
		err = connectError(n.h.endpoint, err)
	}
	n.mu.Lock()
	a := n.attempt
	n.attempt, n.down = nil, err
	if err == nil {
		k.lasting = n.lasting
		n.current = k
		n.links[k] = struct{}{}
		if !n.h.spawn(func() { n.keep(k) }) {
			k.wire.fail(errClosed) // and close ends it
		}
	}
	a.link, a.err = k, err
	n.mu.Unlock()
	close(a.done)
}

// acquire returns a connection on which a call may be made now; see link.release.
func (n *line) acquire(ctx context.Context) (*link, error) {
	for {
		k, err := n.get(ctx)
		if err != nil {
			return nil, err
		}
		entered, err := n.enter(ctx, k)
		if entered || err != nil {
			return k, err
		}
	}
}

// enter waits for a turn on a connection. It returns false when there is to be another one.
func (n *line) enter(ctx context.Context, k *link) (bool, error) {
	select {
	case k.slots <- struct{}{}:
	default:
		patience := time.NewTimer(n.patience)
		defer patience.Stop()
		select {
		case k.slots <- struct{}{}:
		case <-k.wire.lost:
			return false, nil
		case <-patience.C:
			n.retire(k)
			return false, nil
		case <-ctx.Done():
			return false, ended(ctx)
		}
	}
	if k.retired.Load() {
		k.release()
		return false, nil
	}
	return true, nil
}

// retire has the next call get another connection.
func (n *line) retire(k *link) {
	n.mu.Lock()
	if n.current == k {
		n.current = nil
	}
	n.mu.Unlock()
	k.retire()
}

// do calls fn with a connection. It returns when fn does or ctx ends; fn then runs on.
func (n *line) do(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	k, err := n.acquire(ctx)
	if err != nil {
		return acquireError(n.h.endpoint, op, vm, err)
	}
	began := k.wire.lastHeard()
	done := make(chan error, 1)
	running := n.h.spawn(func() {
		defer k.release()
		done <- fn(k.l)
	})
	if !running {
		k.release()
		return acquireError(n.h.endpoint, op, vm, errClosed)
	}
	select {
	case err = <-done:
		return callError(n.h.endpoint, op, vm, err, k.wire.cause())
	case <-ctx.Done():
	}
	select {
	case err = <-done: // both at once
		return callError(n.h.endpoint, op, vm, err, k.wire.cause())
	default:
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		k.suspect()
	}
	return unanswered(ctx, n.h.endpoint, op, vm, k.wire.lastHeard().After(began))
}

// keep watches over a connection until it is lost.
func (n *line) keep(k *link) {
	defer n.drop(k)
	pulse := n.h.pulse
	tick := time.NewTicker(pulse.every)
	defer tick.Stop()
	for {
		select {
		case <-k.wire.lost:
			return
		case <-tick.C:
			if n.lasting || time.Since(k.wire.lastHeard()) < pulse.every {
				continue
			}
		case <-k.doubt:
		}
		switch {
		case k.probe(pulse.limit):
		case n.lasting:
			n.retire(k) // its guests may live: it is not for us to end them
		default:
			k.wire.fail(errNoAnswer)
			return
		}
	}
}

// drop forgets a connection that was lost.
func (n *line) drop(k *link) {
	n.mu.Lock()
	if n.current == k {
		n.current = nil
	}
	delete(n.links, k)
	n.mu.Unlock()
	k.probes.Wait()
	<-k.l.Disconnected() // go-libvirt has told all who wait for answers, and its goroutines end
}

// close ends all connections. The host is closed already: there will be no more.
func (n *line) close() {
	n.mu.Lock()
	open := slices.Collect(maps.Keys(n.links))
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, k := range open {
		wg.Go(func() { k.hangUp(errClosed) })
	}
	wg.Wait()
}
