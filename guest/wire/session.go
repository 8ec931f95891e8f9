package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// readBuffer fits frame headers and small frames; larger payloads are read
	// around it. A virtio-serial port returns at most a page anyway.
	readBuffer = 4 << 10
	// cancelGrace is how long an operation whose context has ended waits for
	// the guest to say that it has stopped.
	cancelGrace = 50 * time.Millisecond
	// pumpGrace is how long a finished operation waits for the caller's reader
	// or writer to return from a call that is under way.
	pumpGrace = 20 * time.Millisecond
)

// ErrClosed is the error of operations on a session that was closed by its own
// side.
var ErrClosed = errors.New("wire: session is closed")

// Session is the host's side of a session with maqet's init. All methods may be
// called concurrently; each operation has a stream of its own and none waits
// for another, except when more than Hello().MaxStreams - 1 are under way: the last
// stream is kept for Ping, which so tells a busy guest from one that is gone.
//
// An operation whose context ends tells the guest, waits up to 50 ms for it to
// have stopped, and returns an error that matches the context's. Operations on
// a lost connection return the error of [Session.Err].
//
// Readers and writers given to an operation are used from its own goroutines.
// One that is stuck in Read or Write when the operation ends is not waited
// for: its goroutine ends when that call returns and makes no further one.
type Session struct {
	conn  io.Closer
	peer  *peer
	hello Hello
	slots chan struct{} // one token for each stream that is open
	pings chan struct{} // the same for those of Ping
	read  chan struct{} // closed when the reading goroutine has ended

	mu   sync.Mutex
	last uint32 // the newest stream's id
}

// Connect starts a session over conn, which it owns from then on: it is closed
// with the session, and when Connect fails. Connect returns when the guest has
// answered, which may be long after: conn may belong to a guest that has not
// booted yet. It fails when the context ends, when conn does, and with
// [ErrProtocol] when the guest speaks another version.
func Connect(ctx context.Context, conn io.ReadWriteCloser) (*Session, error) {
	msg, nonce := newSync(time.Now())
	out := newWriter(conn)
	s := &Session{conn: conn, peer: newPeer(out), read: make(chan struct{})}
	greeted := make(chan error, 1)
	out.control <- item{peer: s.peer, raw: msg}
	go s.run(conn, nonce, greeted)
	var err error
	select {
	case err = <-greeted:
	case <-ctx.Done():
		err = ctx.Err()
	case <-out.done:
		err = out.err
	}
	if err == nil {
		return s, nil
	}
	_ = s.shutdown(err)
	return nil, fmt.Errorf("wire: connect to the guest: %w", err)
}

// run reads until the connection or the protocol fails.
func (s *Session) run(conn io.Reader, nonce []byte, greeted chan<- error) {
	defer close(s.read)
	br := bufio.NewReaderSize(conn, readBuffer)
	hello, err := readHello(br, nonce)
	if err == nil {
		s.hello = hello
		s.slots = make(chan struct{}, max(hello.MaxStreams-1, 1))
		if s.pings = s.slots; hello.MaxStreams > 1 {
			s.pings = make(chan struct{}, 1)
		}
		greeted <- nil
		err = s.peer.readFrames(br, s.dispatch)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	err = fmt.Errorf("wire: connection lost: %w", err)
	s.peer.fail(err)
	select {
	case greeted <- err:
	default: // greeted before
	}
	s.peer.out.stop()
	s.conn.Close()
}

// dispatch takes the frames that only a host receives.
func (s *Session) dispatch(h header, payload []byte) error {
	switch h.typ {
	case frameDone:
		st := s.peer.stream(h.stream)
		if st == nil || !s.peer.remove(h.stream) {
			return nil
		}
		st.finish(payload)
		<-st.slots
		return nil
	case frameBye:
		return fmt.Errorf("%w: the guest ended the session: %s", ErrProtocol, payload)
	default:
		return fmt.Errorf("%w: frame type %d from the guest", ErrProtocol, h.typ)
	}
}

// shutdown ends everything and waits for the session's goroutines.
func (s *Session) shutdown(err error) error {
	s.peer.fail(err)
	s.peer.out.stop()
	closeErr := s.conn.Close()
	<-s.read
	<-s.peer.out.done
	return closeErr
}

// Hello is what the guest said at the session's start.
func (s *Session) Hello() Hello { return s.hello }

// Done is closed when the session has ended, by Close or by a lost connection.
func (s *Session) Done() <-chan struct{} { return s.peer.done }

// Err is why the session has ended: nil while it has not, [ErrClosed] after
// Close, else an error that wraps the connection's.
func (s *Session) Err() error {
	select {
	case <-s.peer.done:
		return s.peer.err
	default:
		return nil
	}
}

// Close ends the session and closes the connection. The guest kills what the
// session's commands still run. It waits for the session's goroutines and may
// be called more than once.
func (s *Session) Close() error {
	if s.peer.ended() {
		_ = s.shutdown(ErrClosed) // says again how it ended
		return nil
	}
	return s.shutdown(ErrClosed)
}

// request is one operation as the host runs it: its message and what feeds
// and drains the stream's pipes.
type request struct {
	op   operation
	args []byte
	send func(*Out) error   // nil: nothing is sent
	recv [2]func(*In) error // nil: what comes is dropped
}

// do runs an operation and returns its reply.
func (s *Session) do(ctx context.Context, r request) ([]byte, error) {
	st, err := s.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer st.cancel(errStreamDone)
	p := startPumps(st, r)
	select {
	case <-st.done:
		err = p.drain(ctx)
	case err = <-p.failed:
	case <-st.ctx.Done():
		err = context.Cause(st.ctx)
	}
	if remote := st.failure(); remote != nil {
		p.settle() // whatever failed here did so because of it
		return nil, remote
	}
	if err != nil {
		s.abandon(st, p, err)
		if ctx.Err() != nil {
			err = ctx.Err() // not the cause that the caller may have attached
		}
		return nil, fmt.Errorf("wire: %s: %w", r.op, err)
	}
	return decodeResult(st.result)
}

// open waits for a free slot and starts a stream.
func (s *Session) open(ctx context.Context, r request) (*stream, error) {
	if 1+len(r.args) > MaxPayload {
		return nil, tooLong(r.op, 1+len(r.args))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slots := s.slots
	if r.op == opPing {
		slots = s.pings
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.peer.done:
		return nil, s.peer.err
	}
	s.mu.Lock()
	s.last++
	st := newStream(ctx, s.peer, s.last, 2, 1)
	st.slots = slots
	s.mu.Unlock()
	err := s.peer.add(st)
	if err == nil {
		err = s.peer.send(ctx, controlFrame(frameOpen, 0, st.id, append([]byte{byte(r.op)}, r.args...)))
	}
	if err != nil {
		st.cancel(err)
		if s.peer.remove(st.id) {
			<-slots
		}
		return nil, err
	}
	return st, nil
}

// abandon tells the guest to stop and waits briefly for it to have done so.
// The stream keeps its slot until the guest says that it is done.
func (s *Session) abandon(st *stream, p *pumps, cause error) {
	st.cancel(cause)
	grace := time.NewTimer(cancelGrace)
	defer grace.Stop()
	// Not with the caller's context: that has ended.
	select {
	case s.peer.out.control <- item{peer: s.peer, frame: controlFrame(frameCancel, 0, st.id, nil)}:
	case <-s.peer.done:
	case <-grace.C:
		go s.cancelLate(st)
		return
	}
	select {
	case <-st.done:
	case <-s.peer.done:
	case <-grace.C:
	}
	p.settle()
}

// cancelLate delivers a cancellation once the connection takes bytes again.
func (s *Session) cancelLate(st *stream) {
	select {
	case s.peer.out.control <- item{peer: s.peer, frame: controlFrame(frameCancel, 0, st.id, nil)}:
	case <-s.peer.done:
	}
}
