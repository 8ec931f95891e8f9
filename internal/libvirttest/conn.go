//go:build linux

package libvirttest

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// Dial connects to the daemon's socket.
func (d *Daemon) Dial() (net.Conn, error) { return net.Dial("unix", d.Socket()) }

// Connect returns a new connection with the daemon's driver open. It ends with tb.
func (d *Daemon) Connect(tb testing.TB) *libvirt.Libvirt {
	tb.Helper()
	conn, err := d.Dial()
	if err != nil {
		tb.Fatal(err)
	}
	held := &heldConn{Conn: conn, opened: make(chan struct{})}
	l := newLibvirt(held)
	if err := l.ConnectToURI(d.driver); err != nil {
		_ = conn.Close()
		tb.Fatal(err)
	}
	close(held.opened)
	tb.Cleanup(func() {
		_ = l.Disconnect() // fails when the test has ended it already
		_ = conn.Close()
	})
	return l
}

// heldConn tells go-libvirt of its end no sooner than ConnectToURI has returned, which writes
// what is read then without a lock (go-libvirt's issue 167).
type heldConn struct {
	net.Conn
	opened chan struct{}
}

// handshakeHold is how long a connection that ends while it is opened may wait for that.
const handshakeHold = 100 * time.Millisecond

func (c *heldConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		select {
		case <-c.opened:
		case <-time.After(handshakeHold):
		}
	}
	return n, err
}

func newLibvirt(conn net.Conn) *libvirt.Libvirt {
	return libvirt.NewWithDialer(dialers.NewAlreadyConnected(conn))
}

// DialMonitor connects to the daemon's socket for a client that can open nothing but
// qemu:///system, such as go-qemu's LibvirtRPCMonitor: where the daemon has the session
// driver, it gets that.
func (d *Daemon) DialMonitor() (net.Conn, error) {
	conn, err := d.Dial()
	if err != nil || d.driver == libvirt.QEMUSystem {
		return conn, err
	}
	return sessionConn{conn}, nil
}

// sessionConn asks for the session driver where its user asks for the system's. In
// XDR both names are of the same size: a length, and bytes padded to a multiple of four
// (RFC 4506, section 4.11).
type sessionConn struct{ net.Conn }

func (c sessionConn) Write(p []byte) (int, error) {
	return c.Conn.Write(bytes.Replace(p,
		[]byte("\x00\x00\x00\x0eqemu:///system\x00\x00"),
		[]byte("\x00\x00\x00\x0fqemu:///session\x00"), 1))
}
