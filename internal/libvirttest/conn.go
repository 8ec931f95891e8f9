//go:build linux

package libvirttest

import (
	"bytes"
	"net"
	"testing"

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
	l := newLibvirt(conn)
	if err := l.ConnectToURI(d.driver); err != nil {
		_ = conn.Close()
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = l.Disconnect() // fails when the test has ended it already
		_ = conn.Close()
	})
	return l
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
