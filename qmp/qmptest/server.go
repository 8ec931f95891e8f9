package qmptest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/maqet/maqet/errors"
)

// Server is a fake QEMU, or with [NewAgent] a fake guest agent. Its methods are safe
// for concurrent use.
type Server struct {
	// Network and Addr are where it listens, for net.Dial and qmp.Dial: a unix socket
	// in a folder that only this user may enter, unless [TCP] was asked for.
	Network, Addr string

	opts     options
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	dir      string        // holds the socket
	listener net.Listener  // nil when it could not listen
	turn     chan struct{} // held by the client being served; nil: no limit
	work     sync.WaitGroup
	machine  machine

	mu        sync.Mutex
	closed    bool // no new links
	err       error
	links     []*link
	count     int // links so far
	handlers  map[string]Handler
	onCommand map[string]Fault
	onConnect Fault
	history   []Request
	grown     chan struct{} // closed when history grows
	files     []*os.File
}

// NewServer returns a fake QEMU that listens already. The caller closes it.
//
// Should it not be able to listen, Addr is empty, dialing it fails, and [Server.Err]
// says why.
func NewServer(opts ...Option) *Server { return newServer(opts, false) }

func newServer(opts []Option, agent bool) *Server {
	o := options{major: 7, minor: 2, micro: 22, capabilities: []string{"oob"}, agent: agent}
	for _, opt := range opts {
		opt(&o)
	}
	s := &Server{
		Network:   "unix",
		opts:      o,
		handlers:  make(map[string]Handler),
		onCommand: make(map[string]Fault),
		grown:     make(chan struct{}),
		machine:   newMachine(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background()) // the server's life, ended by Close
	if o.one {
		s.turn = make(chan struct{}, 1)
	}
	if err := s.listen(); err != nil {
		s.failed("listen", err)
		return s
	}
	s.Addr = s.listener.Addr().String()
	s.work.Go(s.accept)
	return s
}

func (s *Server) listen() (err error) {
	if s.opts.tcp {
		s.Network = "tcp"
		s.listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}
	if s.dir, err = socketDir(); err != nil {
		return err
	}
	path := filepath.Join(s.dir, "qmp")
	if s.listener, err = net.Listen("unix", path); err != nil {
		return err
	}
	return os.Chmod(path, 0o600)
}

// socketDir makes a folder of mode 0700. The path of a socket has 107 bytes at most
// (unix(7)), which a long TMPDIR may leave no room for.
func socketDir() (string, error) {
	const most = 90
	parent := os.TempDir()
	if len(parent) > most {
		parent = "/tmp"
	}
	return os.MkdirTemp(parent, "qmptest")
}

// accept serves those who connect, until the listener is closed.
func (s *Server) accept() {
	for {
		if !s.takeTurn() {
			return
		}
		nc, err := s.listener.Accept()
		if err != nil {
			s.giveTurn()
			return
		}
		if l := s.add(nc); l != nil {
			s.work.Go(func() { defer s.giveTurn(); l.serve() })
		}
	}
}

// takeTurn waits until another client may be served. It is false when the server closes.
func (s *Server) takeTurn() bool {
	if s.turn == nil {
		return true
	}
	select {
	case s.turn <- struct{}{}:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) giveTurn() {
	if s.turn != nil {
		<-s.turn
	}
}

// add makes a link of a new connection; nil, with the connection closed, when the
// server closes.
func (s *Server) add(nc net.Conn) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = nc.Close()
		return nil
	}
	s.count++
	l := newLink(s, nc, s.count)
	s.links = append(s.links, l)
	return l
}

func (s *Server) remove(gone *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = slices.DeleteFunc(s.links, func(l *link) bool { return l == gone })
}

// open returns the links there are now.
func (s *Server) open() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.links)
}

// Conn returns a connection to the server that needs no listener: one end of a pair of
// unix sockets, so that files can be passed. The caller closes it. It fails where the
// system has no such pairs or no more descriptors, and with net.ErrClosed after Close.
func (s *Server) Conn() (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	l := s.add(ours)
	if l == nil || !s.spawn(func() { s.serveInTurn(l) }) {
		return nil, errors.Join(net.ErrClosed, ours.Close(), theirs.Close())
	}
	return theirs, nil
}

func (s *Server) serveInTurn(l *link) {
	if !s.takeTurn() {
		l.hangUp()
		s.remove(l)
		return
	}
	defer s.giveTurn()
	l.serve()
}

// spawn runs fn in a goroutine that Close waits for; false when the server closes.
func (s *Server) spawn(fn func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(fn)
	return true
}

// exit ends all connections and the listening, as QEMU's end does.
func (s *Server) exit() {
	s.mu.Lock()
	s.closed = true
	links := slices.Clone(s.links)
	s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for _, l := range links {
		l.hangUp()
	}
}

// Close ends all connections, waits for all that the server runs, handlers included,
// closes the files it was passed and removes its socket. It is idempotent. A handler
// must not call it, and should end with its [Request.Context].
func (s *Server) Close() {
	s.exit()
	s.cancel()
	s.work.Wait()
	s.mu.Lock()
	files, dir := s.files, s.dir
	s.files, s.dir = nil, ""
	s.mu.Unlock()
	for _, f := range files {
		_ = f.Close() // closed already, where closefd was asked for
	}
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
}

// Err returns what went wrong first on the server's own side, and is no [Fault]: it
// could not listen, or what a handler returned or Emit was given has no JSON form. Nil
// is what a test should see at its end.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Server) failed(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = errors.Wrap(errors.ErrQMP, "qmptest: "+what, "", err)
	}
}
