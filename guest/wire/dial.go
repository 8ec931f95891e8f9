package wire

import (
	"context"
	"io"
)

// Duplex is a connection whose directions end separately.
type Duplex interface {
	io.ReadWriter
	CloseWrite() error
}

// Dial has the guest connect to a TCP address that it reaches, "127.0.0.1:80", and passes
// bytes on between that connection and local. It calls connected, in a goroutine of its
// own, when the guest has connected, and returns when both directions have ended, or one
// has failed; local stays the caller's. A connection that is refused is a [RemoteError]
// that matches syscall.ECONNREFUSED.
func (s *Session) Dial(ctx context.Context, address string, local Duplex, connected func()) error {
	e := &encoder{}
	e.string(address)
	_, err := s.do(ctx, request{
		op: opDial, args: e.b,
		send: fromReader(local),
		recv: [2]func(*In) error{
			func(in *In) error {
				if _, err := in.WriteTo(local); err != nil {
					return err
				}
				return local.CloseWrite()
			},
			// The second pipe ends when the guest has connected. It ends as well when it has
			// not, but then there is a result.
			func(in *In) error {
				_, err := in.WriteTo(io.Discard)
				if err == nil && in.stream.failure() == nil {
					connected()
				}
				return err
			},
		},
	})
	return err
}
