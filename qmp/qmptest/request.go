package qmptest

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
)

// Request is a command that the server read.
type Request struct {
	Command   string
	Arguments json.RawMessage // nil when there were none
	ID        json.RawMessage // nil when there was none
	OOB       bool            // sent with exec-oob
	// Files came with the request, for getfd and add-fd. They are the server's, which
	// closes them in Close.
	Files []*os.File
	Conn  int // which connection it came over, from 1 in the order they were made
	Time  time.Time

	ctx  context.Context
	then *[]func()
}

// Decode unmarshals the arguments into v; without arguments it leaves v alone.
func (r Request) Decode(v any) error {
	if r.Arguments == nil {
		return nil
	}
	return json.Unmarshal(r.Arguments, v)
}

// Context ends with the connection that the request came over. It is there for
// handlers that wait. A Request that no server made has no connection: its context never
// ends.
func (r Request) Context() context.Context {
	if r.ctx == nil {
		return context.Background()
	}
	return r.ctx
}

// Then makes the server call fn once it has answered the request: for events that QEMU
// sends after the reply. It is of use only in a handler.
func (r Request) Then(fn func()) {
	if r.then != nil {
		*r.then = append(*r.then, fn)
	}
}

// record adds a request to the history.
func (s *Server) record(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, r)
	close(s.grown)
	s.grown = make(chan struct{})
}

// Requests returns all commands that were read, in that order, qmp_capabilities
// included; not what was no request at all.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}

// Await returns the n-th request for command, counted from 1, and waits until it has
// been read; it may still be unanswered. When ctx ends first the error is
// errors.ErrQMPTimeout and ctx's, when the server is closed it is net.ErrClosed.
func (s *Server) Await(ctx context.Context, command string, n int) (Request, error) {
	next := 0 // of the history
	for {
		s.mu.Lock()
		for ; next < len(s.history); next++ {
			if s.history[next].Command != command {
				continue
			}
			if n--; n <= 0 {
				r := s.history[next]
				s.mu.Unlock()
				return r, nil
			}
		}
		grown := s.grown
		s.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return Request{}, errors.Wrap(errors.ErrQMPTimeout, "await the request "+command, "", ctx.Err())
		case <-s.ctx.Done():
			return Request{}, errors.Wrap(errors.ErrQMPConnection, "await the request "+command, "", net.ErrClosed)
		}
	}
}
