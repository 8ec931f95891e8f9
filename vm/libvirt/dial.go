package libvirt

import (
	"context"
	"net"
)

// dialer makes connections to one libvirtd.
type dialer interface {
	// dial returns a connection on which nothing was said yet. Closing it never blocks, and
	// ends what is read from it.
	dial(ctx context.Context) (net.Conn, error)
	// close ends what the connections stand on. There must be none any more.
	close()
}

func newDialer(e *endpoint) dialer {
	if e.local() {
		return unixDialer(e.sockets())
	}
	return tcpDialer(e.address())
}

// tcpDialer has the address of a libvirtd that neither encrypts nor asks who it serves.
type tcpDialer string

func (d tcpDialer) dial(ctx context.Context) (net.Conn, error) {
	var n net.Dialer
	return n.DialContext(ctx, "tcp", string(d))
}

func (tcpDialer) close() {}

// unixDialer has the paths of sockets, to try in that order.
type unixDialer []string

func (d unixDialer) dial(ctx context.Context) (net.Conn, error) {
	var n net.Dialer
	var errs []error
	for _, path := range d {
		c, err := n.DialContext(ctx, "unix", path)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, mostTelling(errs)
}

func (unixDialer) close() {}
