package process

import (
	"context"
	"net"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
)

// channel is a connection to one of the guest's sockets, which takes one client at a
// time: as long as it is open it holds the socket's lock. CloseWrite, like all methods
// of a *net.UnixConn, is there: it says that nothing more will be written, so that the
// guest gets all of it before the connection ends.
type channel struct {
	*net.UnixConn
	guest *guest
	lock  *flock.Lock
	once  sync.Once
	err   error
}

// PlainSocket implements qmp.PlainSocket.
func (c *channel) PlainSocket() {}

// Close closes the connection and lets the next client in. It is idempotent.
func (c *channel) Close() error {
	c.once.Do(func() {
		c.err = errors.Join(c.UnixConn.Close(), c.lock.Unlock())
		c.guest.mu.Lock()
		defer c.guest.mu.Unlock()
		delete(c.guest.conns, c)
	})
	return c.err
}

// Dial implements vm.Guest.
func (g *guest) Dial(ctx context.Context, name string, wait bool) (net.Conn, error) {
	conn, err := g.dial(ctx, name, wait)
	if err != nil {
		return nil, errors.Wrap(errors.ErrAgentUnavailable, "open channel "+name, g.name, err)
	}
	return conn, nil
}

func (g *guest) dial(ctx context.Context, name string, wait bool) (*channel, error) {
	socket, ok := g.runtime.Sockets[name]
	if !ok {
		return nil, errors.New("the guest has no such channel")
	}
	lock, err := flock.Try(lockPath(socket))
	if errors.Is(err, flock.ErrHeld) {
		if !wait {
			return nil, errors.New("somebody else uses it")
		}
		within, cancel := g.within(ctx)
		defer cancel()
		if lock, err = flock.Wait(within, lockPath(socket)); err != nil && within.Err() != nil {
			err = context.Cause(within)
		}
	}
	if err != nil {
		return nil, err
	}
	return g.open(ctx, socket, lock)
}

// open connects to a socket whose lock is held, and owns the lock from now on.
func (g *guest) open(ctx context.Context, socket string, lock *flock.Lock) (*channel, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	c := &channel{UnixConn: conn.(*net.UnixConn), guest: g, lock: lock}
	g.mu.Lock()
	g.conns[c] = struct{}{}
	g.mu.Unlock()
	// Looked at last: who waited may have got the lock of a guest that is gone, whose
	// files are another one's by now; and Release closes what it sees.
	if g.life.Err() != nil {
		return nil, errors.Join(context.Cause(g.life), c.Close())
	}
	return c, nil
}

// within returns a context that ends with ctx, with the guest, or with its release.
func (g *guest) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(g.life, func() { cancel(context.Cause(g.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
