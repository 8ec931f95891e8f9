package libvirt

import (
	"context"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

// do calls fn with a connection. It returns when fn does, when ctx ends, or after limit, if that
// is not 0; fn then runs on.
func (n *line) do(ctx context.Context, limit time.Duration, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	var late <-chan time.Time
	if limit > 0 { // a timer costs less than a context
		t := time.NewTimer(limit)
		defer t.Stop()
		late = t.C
	}
	k, t, err := n.acquire(ctx, late)
	if err != nil {
		return acquireError(n.h.endpoint, op, vm, err)
	}
	began := k.wire.heard.Load()
	done := make(chan error, 1)
	running := n.h.run(func() {
		err := fn(k.l)
		k.release(t)
		done <- err
	})
	if !running {
		k.release(t)
		return acquireError(n.h.endpoint, op, vm, errClosed)
	}
	select {
	case err = <-done:
		return callError(n.h.endpoint, op, vm, err, k.wire.cause())
	case <-ctx.Done():
		err = ended(ctx)
	case <-late:
		err = errNoAnswer
	}
	select {
	case err = <-done: // both at once
		return callError(n.h.endpoint, op, vm, err, k.wire.cause())
	default:
	}
	if errors.Is(err, context.DeadlineExceeded) {
		k.suspect()
	}
	return unanswered(n.h.endpoint, op, vm, err, k.wire.heard.Load() != began)
}

// acquire returns a connection on which a call may be made now, and its turn there; see
// link.release.
func (n *line) acquire(ctx context.Context, late <-chan time.Time) (*link, turn, error) {
	for {
		k, err := n.get(ctx, late)
		if err != nil {
			return nil, nil, err
		}
		if t := k.enter(); t != nil {
			return k, t, nil
		}
		t, err := n.wait(ctx, late, k)
		if t != nil || err != nil {
			return k, t, err
		}
	}
}

// wait waits for a turn on a connection. It returns nil when there is to be another connection.
func (n *line) wait(ctx context.Context, late <-chan time.Time, k *link) (turn, error) {
	patience := time.NewTimer(n.patience)
	defer patience.Stop()
	select {
	case k.turns <- struct{}{}:
		return k.entered(k.turns), nil
	case <-k.wire.lost:
		return nil, nil
	case <-patience.C:
		n.retire(k)
		return nil, nil
	case <-ctx.Done():
		return nil, ended(ctx)
	case <-late:
		return nil, errNoAnswer
	}
}

// maxIdle is how many goroutines wait for calls to make. A goroutine that made one has the stack
// for another, which a new one would have to grow.
const maxIdle = 16

// run is spawn for a call.
func (h *host) run(call func()) bool {
	select {
	case h.idle <- call:
		return true
	default:
		return h.spawn(func() {
			call()
			h.runMore()
		})
	}
}

// runMore makes further calls until the host is closed, unless there are others enough who do.
func (h *host) runMore() {
	defer h.idlers.Add(-1)
	if h.idlers.Add(1) > maxIdle {
		return
	}
	for {
		select {
		case call := <-h.idle:
			call()
		case <-h.ctx.Done():
			return
		}
	}
}
