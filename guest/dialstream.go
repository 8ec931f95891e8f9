//go:build unix

package guest

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
)

// linger is how long a connection that the program has closed may take to send what it was
// given, and to be closed by the other side.
const linger = 5 * time.Second

// dial connects by the guest's init. The bytes go through a pair of sockets of this host:
// so the program's end has all that a net.Conn has.
func (w *streamWay) dial(ctx context.Context, address string) (net.Conn, error) {
	ours, theirs, err := connPair()
	if err != nil {
		return nil, err
	}
	conn := &streamConn{Conn: theirs, local: theirs, remote: guestAddr(address), ended: make(chan struct{})}
	connected := make(chan struct{})
	var life context.Context // outlives ctx
	life, conn.cancel = context.WithCancel(w.m.ctx)
	started := w.m.background(func(context.Context) {
		defer conn.cancel()
		conn.err = w.check(w.session.Dial(life, address, ours, func() { close(connected) }))
		close(conn.ended)
		_ = ours.Close() // the program reads the end, or why
	})
	if !started {
		conn.cancel()
		return nil, errors.Join(errClosed("dial", address), ours.Close(), theirs.Close())
	}
	select {
	case <-connected:
		return conn, nil
	case <-conn.ended:
		err = conn.err
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
	case <-ctx.Done():
		conn.cancel()
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, theirs.Close())
}

// connPair returns two connected sockets.
func connPair() (ours, theirs *net.UnixConn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	conns := [2]*net.UnixConn{}
	for i, fd := range fds {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "dial")
		conn, connErr := net.FileConn(f) // a duplicate
		err = errors.Join(err, connErr, f.Close())
		conns[i], _ = conn.(*net.UnixConn)
	}
	if err != nil {
		for _, c := range conns {
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		}
		return nil, nil, err
	}
	return conns[0], conns[1], nil
}

// streamConn is the program's end of a connection into a guest.
type streamConn struct {
	net.Conn
	local  *net.UnixConn // the same
	remote guestAddr
	cancel context.CancelFunc

	ended chan struct{} // closed when the connection has ended
	err   error         // why; before ended
}

func (c *streamConn) RemoteAddr() net.Addr { return c.remote }
func (c *streamConn) LocalAddr() net.Addr  { return guestAddr("host") }

// Read reports how a connection ended that broke.
func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		err = c.reason(io.EOF)
	}
	return n, err
}

// Write is Read's counterpart.
func (c *streamConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		err = c.reason(err)
	}
	return n, err
}

// reason returns why the connection ended, or err where it did not break.
func (c *streamConn) reason(err error) error {
	select {
	case <-c.ended:
		if c.err != nil {
			return &net.OpError{Op: "read", Net: "tcp", Addr: c.remote, Err: c.err}
		}
	default:
	}
	return err
}

// CloseWrite ends the direction into the guest.
func (c *streamConn) CloseWrite() error { return c.local.CloseWrite() }

// Close ends the connection: what was written before is still sent.
func (c *streamConn) Close() error {
	time.AfterFunc(linger, c.cancel)
	return c.Conn.Close()
}
