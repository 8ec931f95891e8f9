package libvirt

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// line makes calls, on a connection that it makes when there is none and replaces when it is
// lost, wedged or full.
type line struct {
	h *host
	// patience is how long a call waits for its turn until it gets a further connection.
	patience time.Duration
	// lasting connections are closed by the host's end only: guests live as long as they do.
	lasting bool

	current atomic.Pointer[link] // gets new calls; nil: there is none

	mu      sync.Mutex
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

// get returns a connection. Nobody waits for it longer than his own context, or than until
// something comes from late.
func (n *line) get(ctx context.Context, late <-chan time.Time) (*link, error) {
	if k := n.usable(); k != nil {
		return k, nil
	}
	n.mu.Lock()
	if k := n.usable(); k != nil { // there was an attempt meanwhile
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
	case <-late:
		return nil, errNoAnswer
	case <-hopeless:
		return nil, down
	}
}

// usable returns the connection for new calls, nil if there is none. Each call asks: a lock would
// be what they queue for.
func (n *line) usable() *link {
	if k := n.current.Load(); k != nil && k.wire.cause() == nil {
		return k
	}
	return nil
}

// connect makes the attempt.
func (n *line) connect() {
	ctx, cancel := context.WithTimeoutCause(n.h.ctx, min(connectLimit, n.h.opts.Timeout), errNoAnswer)
	defer cancel()
	k, err := openLink(ctx, n.h.dial, n.h.driverURI())
	if err != nil {
		err = connectError(n.h.endpoint, err)
	}
	kept := true
	n.mu.Lock()
	a := n.attempt
	n.attempt, n.down = nil, err
	if err == nil {
		k.lasting = n.lasting
		n.current.Store(k)
		n.links[k] = struct{}{}
		if kept = n.h.spawn(func() { n.keep(k) }); !kept { // the host was closed meanwhile
			k.wire.fail(errClosed)
		}
	}
	a.link, a.err = k, err
	n.mu.Unlock()
	close(a.done)
	if !kept {
		n.drop(k)
	}
}

// retire has the next call get another connection.
func (n *line) retire(k *link) {
	n.current.CompareAndSwap(k, nil)
	k.retire()
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
		if !k.probe(pulse.limit) && !n.spare(k) {
			k.wire.fail(errNoAnswer)
			return
		}
	}
}

// spare decides over a connection on which nothing is answered: true if it is to be left open,
// without further calls. So it is where guests live as long as it does; and where libvirtd may
// not have read the question for the calls before it, but answers on another connection.
func (n *line) spare(k *link) bool {
	if n.lasting {
		n.retire(k)
		return true
	}
	if k.calls() <= maxCalls {
		return false
	}
	n.retire(k)
	_, err := n.get(n.h.ctx, nil)
	return err == nil
}

// drop forgets a connection that was lost.
func (n *line) drop(k *link) {
	n.mu.Lock()
	n.current.CompareAndSwap(k, nil)
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
