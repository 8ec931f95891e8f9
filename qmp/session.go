package qmp

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
)

// aLongTimeAgo is a deadline that interrupts whatever waits.
var aLongTimeAgo = time.Unix(1, 0)

type reply struct {
	result []byte
	err    *errorBody
}

// session is one connection, from its first byte to its last. Its reader is the only
// one that decides that it has ended. What is written, and by whom, is in sending.go.
type session struct {
	conn   net.Conn
	frames *frameReader
	hub    *hub
	taps   *taps
	cause  func() error // says more about why the connection ended, may be nil
	onEnd  func(error)  // told of the end before those who wait

	greeting chan *greetingBody // capacity 1
	greeted  bool               // the reader's
	hello    uint64             // id of the handshake
	direct   *directWriter      // nil where a write can't be kept from waiting
	wake     chan struct{}      // capacity 1; tells the writer to go on
	calls    sync.Pool          // of *call, for use again

	mu sync.Mutex
	sender
	inBand  []*call          // in flight, in the order of their requests, which is that of the replies
	byID    map[uint64]*call // in flight: those that were urgent
	filesIn bool             // a command with files is in flight
	agreed  bool             // the handshake is answered
	lastID  uint64
	failure error // why conn was closed from this side, nil while it was not
	ours    bool  // it was closed because this side wanted to
	err     error // set before done is closed

	done chan struct{} // the connection has ended
	work sync.WaitGroup
}

func newSession(conn net.Conn, h *hub, t *taps, o clientOptions, onEnd func(error)) *session {
	s := &session{
		conn:     conn,
		frames:   newFrameReader(conn, o.frameLimit),
		hub:      h,
		taps:     t,
		cause:    o.cause,
		onEnd:    onEnd,
		greeting: make(chan *greetingBody, 1),
		wake:     make(chan struct{}, 1),
		byID:     make(map[uint64]*call),
		lastID:   rand.Uint64N(1_000_000),
		done:     make(chan struct{}),
	}
	s.direct = newDirectWriter(conn, s.step)
	s.calls.New = func() any { return &call{reply: make(chan reply, 1)} }
	s.hello = s.nextID()
	s.work.Go(s.read)
	s.work.Go(s.write)
	return s
}

// abort ends the connection because this side wants to; fail because it does not work
// any more. Only the first reason counts.
func (s *session) abort(err error) { s.shut(err, true) }

func (s *session) fail(err error) { s.shut(err, false) }

func (s *session) shut(err error, ours bool) {
	s.mu.Lock()
	if s.failure == nil {
		s.failure, s.ours = err, ours
	}
	s.mu.Unlock()
	_ = s.conn.Close()
}

// explained is how a connection ended, of which the cause says all that people want to
// know: that a read failed with this or that goes without saying.
type explained struct{ cause, err error }

func (e *explained) Error() string   { return e.cause.Error() }
func (e *explained) Unwrap() []error { return []error{e.cause, e.err} }

// end makes the sticky error and tells everybody.
func (s *session) end(err error) {
	_ = s.conn.Close()
	s.mu.Lock()
	if s.failure != nil {
		err = s.failure
	}
	ours := s.ours
	s.mu.Unlock()
	if !ours && s.cause != nil {
		if cause := s.cause(); cause != nil {
			err = &explained{cause: cause, err: err}
		}
	}
	sticky := errors.Wrap(errors.ErrQMPConnection, "", "", err)
	s.mu.Lock()
	s.err = sticky
	left := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, c := range left {
		c.files.close()
	}
	s.onEnd(sticky)
	close(s.done)
}

// lost returns the sticky error, nil while the connection works.
func (s *session) lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// do sends a command, with files if there are any, and waits for its reply. It owns the
// files from now on. The error is ctx's or the sticky one.
func (s *session) do(ctx context.Context, r request, files *passedFiles) (reply, error) {
	if err := ctx.Err(); err != nil {
		files.close()
		return reply{}, err
	}
	c := s.calls.Get().(*call)
	c.request, c.files = r, files
	if err := s.submit(c); err != nil {
		files.close()
		return reply{}, err
	}
	select {
	case rep := <-c.reply:
		s.recycle(c)
		return rep, nil
	case <-ctx.Done():
		s.withdraw(c)
		return reply{}, ctx.Err()
	case <-s.done:
		select {
		case rep := <-c.reply: // came just before the end
			return rep, nil
		default:
			return reply{}, s.lost()
		}
	}
}

func (s *session) nextID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	return s.lastID
}
