package qmp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
)

// window is how many in-band commands are in flight at most. QEMU queues eight and
// then stops reading, out-of-band commands included (QMP specification, "Out-of-band
// execution").
const window = 8

// aLongTimeAgo is a deadline that interrupts whatever waits.
var aLongTimeAgo = time.Unix(1, 0)

// call is a command in flight. Its reply is kept even when nobody waits any more, so
// that the reader never blocks.
type call struct {
	reply chan reply // capacity 1
	files bool       // holds session.files until it is answered
}

type reply struct {
	result []byte
	err    *errorBody
}

// session is one connection, from its first byte to its last. Its reader is the only
// one that decides that it has ended.
type session struct {
	conn   net.Conn
	frames *frameReader
	hub    *hub
	cause  func() error // says more about why the connection ended, may be nil
	onEnd  func(error)  // told of the end before those who wait

	greeting  chan *greetingBody // capacity 1
	greeted   bool               // the reader's
	hello     uint64             // id of the handshake
	slots     chan struct{}      // one for each in-band command in flight
	files     chan struct{}      // held by the one command in flight that carries files
	writer    chan struct{}      // held by who writes; a channel, so that waiting can be cancelled
	out       []byte             // the request being written
	unblock   func()             // interrupts the write, then sends to unblocked
	unblocked chan struct{}

	mu      sync.Mutex
	inBand  []*call          // in the order of their requests, which is that of the replies
	byID    map[uint64]*call // out-of-band commands, and the handshake
	agreed  bool             // the handshake is answered
	lastID  uint64
	failure error // why conn was closed from this side, nil while it was not
	ours    bool  // it was closed because this side wanted to
	err     error // set before done is closed

	done   chan struct{} // the connection has ended
	reader sync.WaitGroup
}

func newSession(conn net.Conn, h *hub, o clientOptions, onEnd func(error)) *session {
	s := &session{
		conn:     conn,
		frames:   newFrameReader(conn, o.frameLimit),
		hub:      h,
		cause:    o.cause,
		onEnd:    onEnd,
		greeting: make(chan *greetingBody, 1),
		slots:    make(chan struct{}, window),
		files:    make(chan struct{}, 1),
		writer:   make(chan struct{}, 1),
		byID:     make(map[uint64]*call),
		lastID:   rand.Uint64N(1_000_000),
		done:     make(chan struct{}),

		unblocked: make(chan struct{}, 1),
	}
	s.unblock = func() {
		_ = s.conn.SetWriteDeadline(aLongTimeAgo)
		s.unblocked <- struct{}{}
	}
	s.hello = s.nextID()
	s.reader.Go(s.read)
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
			err = fmt.Errorf("%w: %w", err, cause)
		}
	}
	sticky := errors.Wrap(errors.ErrQMPConnection, "", "", err)
	s.mu.Lock()
	s.err = sticky
	s.mu.Unlock()
	s.onEnd(sticky)
	close(s.done)
}

// lost returns the sticky error, nil while the connection works.
func (s *session) lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// do sends r, with rights attached if there are any, and waits for its reply. The
// error is ctx's or the sticky one.
func (s *session) do(ctx context.Context, r request, rights []byte) (reply, error) {
	c := &call{reply: make(chan reply, 1), files: len(rights) > 0}
	if err := s.start(ctx, c, r, rights); err != nil {
		return reply{}, err
	}
	select {
	case rep := <-c.reply:
		return rep, nil
	case <-ctx.Done():
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

// start takes the places that the command needs and sends it. When it fails, nothing
// of the command was sent, or the connection is lost.
func (s *session) start(ctx context.Context, c *call, r request, rights []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.files {
		if err := s.take(ctx, s.files); err != nil {
			return err
		}
	}
	if r.id == 0 {
		if err := s.take(ctx, s.slots); err != nil {
			s.release(c, false)
			return err
		}
	}
	if err := s.take(ctx, s.writer); err != nil {
		s.release(c, r.id == 0)
		return err
	}
	defer func() { <-s.writer }()
	return s.send(ctx, c, r, rights)
}

// send puts the command in its place and writes it. The caller holds writer.
func (s *session) send(ctx context.Context, c *call, r request, rights []byte) error {
	s.queue(c, r.id)
	s.out = r.append(s.out[:0])
	sent, err := s.write(ctx, s.out, rights)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		if sent == 0 { // as if it had never been asked for
			if s.unqueue(c, r.id) {
				s.release(c, r.id == 0)
			}
			return ctx.Err()
		}
		s.abort(fmt.Errorf("request %s half written: %w", r.command, ctx.Err()))
		return ctx.Err()
	}
	s.fail(err)
	select { // the reader sees the closed connection at once
	case <-s.done:
		return s.lost()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take acquires one of a channel's places.
func (s *session) take(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
	}
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.lost()
	}
}

// release gives back what a command that was not sent has taken.
func (s *session) release(c *call, slot bool) {
	if slot {
		<-s.slots
	}
	if c.files {
		<-s.files
	}
}

func (s *session) queue(c *call, id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != 0 {
		s.byID[id] = c
		return
	}
	s.inBand = append(s.inBand, c)
}

// unqueue takes back the command that was queued last. It is false when a peer that
// replies to what it was not sent has answered it, which gave its places back.
func (s *session) unqueue(c *call, id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != 0 {
		_, queued := s.byID[id]
		delete(s.byID, id)
		return queued
	}
	last := len(s.inBand) - 1
	if last < 0 || s.inBand[last] != c {
		return false
	}
	s.inBand[last] = nil
	s.inBand = s.inBand[:last]
	return true
}

func (s *session) nextID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	return s.lastID
}

// write writes data, with rights attached to its first byte, until ctx ends. The
// caller holds writer.
func (s *session) write(ctx context.Context, data, rights []byte) (int, error) {
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, s.unblock)
		defer func() {
			if !stop() {
				<-s.unblocked
				_ = s.conn.SetWriteDeadline(time.Time{})
			}
		}()
	}
	if len(rights) == 0 {
		return s.conn.Write(data)
	}
	sent, err := writeRights(s.conn, data, rights)
	if err != nil || sent == len(data) {
		return sent, err
	}
	more, err := s.conn.Write(data[sent:])
	return sent + more, err
}
