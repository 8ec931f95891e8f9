package libvirt

import (
	"context"
	"net"
	"net/url"
	"sync"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"

	"github.com/maqet/maqet/errors"
)

// host owns the connections to one libvirt.
type host struct {
	opts   Options
	uri    *url.URL
	socket string // TODO(connection): any transport

	mu   sync.Mutex
	conn *libvirt.Libvirt // nil: not connected yet

	known factsCache // what the host can do
}

func newHost(o Options) (*host, error) {
	u, err := url.Parse(o.URI)
	if err != nil || u.Scheme == "" {
		return nil, &errors.ConfigError{Problems: []errors.Problem{{Field: "uri", Value: o.URI, Message: "is no libvirt URI", Fix: "write qemu:///system"}}}
	}
	socket := u.Query().Get("socket")
	if socket == "" {
		socket = "/var/run/libvirt/libvirt-sock"
	}
	return &host{opts: o, uri: u, socket: socket}, nil
}

// driverURI is what libvirtd itself is asked to open, such as "qemu:///system".
func (h *host) driverURI() string {
	return (&url.URL{Scheme: h.uri.Scheme, Path: h.uri.Path}).Scheme + "://" + h.uri.Path
}

// dial makes a further connection to libvirtd, on which nothing was said yet.
func (h *host) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", h.socket)
}

// call runs fn with the shared connection, which is made if there is none. It returns when fn
// does, when ctx ends, or at Options.Timeout, whichever is first; fn, whose answer nobody
// awaits any more, may then still run. Errors name op and vm, and are errors.ErrLibvirtConnection where
// the connection failed; a libvirt.Error is inside where libvirtd answered with one.
func (h *host) call(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	h.mu.Lock()
	if h.conn == nil {
		c, err := h.dial(ctx)
		if err != nil {
			h.mu.Unlock()
			return errors.Wrap(errors.ErrLibvirtConnection, op, vm, err)
		}
		l := libvirt.NewWithDialer(dialers.NewAlreadyConnected(c))
		if err := l.ConnectToURI(libvirt.ConnectURI(h.driverURI())); err != nil {
			h.mu.Unlock()
			return errors.Wrap(errors.ErrLibvirtConnection, op, vm, err)
		}
		h.conn = l
	}
	l := h.conn
	h.mu.Unlock()
	return errors.Wrap(errors.ErrBackend, op, vm, fn(l))
}

func (h *host) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil {
		return nil
	}
	return h.conn.Disconnect()
}
