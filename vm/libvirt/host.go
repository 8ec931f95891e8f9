package libvirt

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

// host owns the connections to one libvirt. Its methods are safe for concurrent use.
type host struct {
	opts     Options
	endpoint *endpoint
	pulse    pulse
	dialer   dialer
	calls    line // what everybody shares
	life     line // what guests live as long as
	reach    reach

	known factsCache // what the host can do

	// ctx is the host's own: connections outlive the calls that they are made for. It ends
	// with close.
	ctx  context.Context
	stop context.CancelFunc

	idle   chan func() // calls for goroutines that have none
	idlers atomic.Int32

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // all goroutines
}

// pulse says how it is found out that libvirtd hangs, or that its host is gone, when no
// connection ends.
//
// libvirt has a keepalive of its own for that ("Internals", section "RPC keepalive"). It can't
// be used below go-libvirt, which has the connection's writing to itself: so there is a cheap
// call, which also proves more, as it is answered by the threads that do the work.
type pulse struct {
	every time.Duration // a connection that is silent for so long is asked something
	limit time.Duration // for the answer
}

// newHost connects to nothing.
func newHost(o Options) (*host, error) {
	e, err := parseURI(o.URI)
	if err != nil {
		return nil, err
	}
	h := &host{opts: o, endpoint: e, dialer: newDialer(e), idle: make(chan func())}
	limit := max(2*time.Second, min(o.Grace, 10*time.Second)) // slow machines are not dead ones
	h.pulse = pulse{every: limit / 4, limit: limit}
	h.calls = line{h: h, patience: time.Second, links: map[*link]struct{}{}}
	h.life = line{h: h, patience: 10 * time.Second, lasting: true, links: map[*link]struct{}{}}
	h.reach.h = h
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h, nil
}

// driverURI is what libvirtd itself is asked to open, such as "qemu:///system".
func (h *host) driverURI() string { return h.endpoint.driverURI() }

// local reports whether libvirtd is reached through a unix socket of this host.
func (h *host) local() bool { return h.endpoint.local() }

// dial makes a further connection to libvirtd, on which nothing was said yet. It belongs to the
// caller. Errors are errors.ErrLibvirtConnection.
func (h *host) dial(ctx context.Context) (net.Conn, error) {
	c, err := h.dialer.dial(ctx)
	if err != nil {
		return nil, connectError(h.endpoint, err)
	}
	return c, nil
}

// call runs fn with the shared connection, which is made if there is none. It returns when fn
// does, when ctx ends, or at Options.Timeout, whichever is first; fn, whose answer nobody
// awaits any more, may then still run. Nothing is tried twice. Errors name op and vm; see
// callError for their kinds.
//
// fn must not give libvirt a stream: go-libvirt's connection is stuck when one can't be
// written to. What streams has a connection of its own, made by dial.
func (h *host) call(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	return h.calls.do(ctx, h.opts.Timeout, op, vm, fn)
}

// longCall is call for what takes as long as there is data to be moved, such as a guest's
// memory: only ctx bounds it.
func (h *host) longCall(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	return h.calls.do(ctx, 0, op, vm, fn)
}

// lifeline is call on a connection that ends with the host or with this process, and not before
// unless libvirtd ends it: what is created there with VIR_DOMAIN_START_AUTODESTROY lives as
// long. When libvirtd does not answer, the next lifeline call gets a further one.
func (h *host) lifeline(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	return h.life.do(ctx, h.opts.Timeout, op, vm, fn)
}

// spawn runs fn in a goroutine that close waits for. It returns false, and runs nothing, when
// the host is closed.
func (h *host) spawn(fn func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.work.Go(fn)
	return true
}

// closeLimit bounds the wait for goroutines. None should need it: all they wait for has ended.
const closeLimit = 5 * time.Second

// close ends all connections, also those that a libvirtd which hangs does not let go of, and
// the calls on them, and waits for their goroutines. Again it does nothing.
func (h *host) close() error {
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	if closed {
		return nil
	}
	h.stop()
	h.calls.close()
	h.life.close()
	h.dialer.close()
	done := make(chan struct{})
	go func() { // waits for what is bounded itself; see closeLimit
		defer close(done)
		h.work.Wait()
	}()
	late := time.NewTimer(closeLimit)
	defer late.Stop()
	select {
	case <-done:
		return nil
	case <-late.C:
		return &errors.Error{Kind: errors.ErrBackend, Op: "close " + h.endpoint.String(), Msg: "calls to libvirt are still running"}
	}
}
