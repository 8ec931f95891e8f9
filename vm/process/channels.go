package process

import (
	"context"
	"net"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
)

// channel is a connection to one of the guest's sockets, which takes one client at a
// time: as long as it is open it holds the socket's lock.
type channel struct {
	net.Conn
	guest *guest
	lock  *flock.Lock
	once  sync.Once
	err   error
}

// Dial implements vm.Guest.
func (g *guest) Dial(ctx context.Context, name string, wait bool) (net.Conn, error) {
	socket, ok := g.runtime.Sockets[name]
	if !ok {
		return nil, g.unavailable(name, errors.New("the guest has no such channel"))
	}
	take := func() (*flock.Lock, error) { return flock.Try(lockPath(socket)) }
	if wait {
		take = func() (*flock.Lock, error) { return flock.Wait(ctx, lockPath(socket)) }
	}
	lock, err := take()
	if err != nil {
		return nil, g.unavailable(name, err)
	}
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, g.unavailable(name, errors.Join(err, lock.Unlock()))
	}
	c := &channel{Conn: conn, guest: g, lock: lock}
	g.mu.Lock()
	closed := g.closed
	g.conns[c] = struct{}{}
	g.mu.Unlock()
	if closed {
		return nil, g.unavailable(name, errors.Join(net.ErrClosed, c.Close()))
	}
	return c, nil
}

func (g *guest) unavailable(name string, err error) error {
	return errors.Wrap(errors.ErrAgentUnavailable, "open channel "+name, g.cfg.Name, err)
}

// CloseWrite says that nothing more will be written, so that the guest gets all of it
// before the connection ends.
func (c *channel) CloseWrite() error { return c.Conn.(*net.UnixConn).CloseWrite() }

// Close closes the connection and lets the next client in.
func (c *channel) Close() error {
	c.once.Do(func() {
		c.err = errors.Join(c.Conn.Close(), c.lock.Unlock())
		c.guest.mu.Lock()
		defer c.guest.mu.Unlock()
		delete(c.guest.conns, c)
	})
	return c.err
}
