package libvirt

import (
	"context"
	"net"
)

// dialer makes connections to one libvirtd.
type dialer interface {
	// dial returns a connection on which nothing was said yet. Closing it takes a moment at
	// most, and ends what is being read from it, also when the other side is gone.
	dial(ctx context.Context) (net.Conn, error)
	// close ends what connections have in common, and so those that are still open.
	close()
}

func newDialer(e *endpoint) dialer {
	switch e.transport {
	case transportTCP:
		return tcpDialer(e.address())
	case transportTLS:
		return newTLSDialer(e)
	case transportSSH:
		return newSSHDialer(e)
	}
	return unixDialer(e.sockets())
}

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

// tcpDialer has the address of a libvirtd that neither encrypts nor asks whom it serves.
type tcpDialer string

func (d tcpDialer) dial(ctx context.Context) (net.Conn, error) {
	var n net.Dialer
	return n.DialContext(ctx, "tcp", string(d))
}

func (tcpDialer) close() {}
