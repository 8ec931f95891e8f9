// Package viewer has clients for the displays of QEMU that do no more than log in. They are
// for tests.
package viewer

import (
	"context"
	"io"
	"net"

	"github.com/maqet/maqet/errors"
)

// ErrRefused is why a display does not let a client in: the password is wrong, or not set.
var ErrRefused = errors.New("the display refuses the password")

// session is a connection on which the first error sticks, so that steps need not look.
type session struct {
	conn net.Conn
	err  error
}

// within connects to a unix socket and runs fn, until ctx ends.
func within(ctx context.Context, socket string, fn func(*session)) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what it was for is done
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	s := &session{conn: conn}
	if fn(s); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.err
}

func (s *session) read(n int) []byte {
	b := make([]byte, n)
	if s.err == nil {
		_, s.err = io.ReadFull(s.conn, b)
	}
	return b
}

func (s *session) write(b []byte) {
	if s.err == nil {
		_, s.err = s.conn.Write(b)
	}
}
