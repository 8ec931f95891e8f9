package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
)

// agentMark starts the reply to guest-sync-delimited and, sent by the client, makes the
// agent forget half a request (QEMU Guest Agent Protocol Reference).
const agentMark = 0xFF

// Agent speaks the QEMU guest agent's dialect of the protocol over a virtio-serial
// port's socket: no greeting, no events, one command at a time. It is safe for
// concurrent use; commands wait for each other.
//
// Nothing tells whether an agent listens at the other end, and what an earlier client
// left unread is still in the port. So the first command, and the one after a command
// whose answer nobody waited for, is preceded by a [Agent.Sync].
type Agent struct {
	conn   net.Conn
	frames *frameReader
	turn   chan struct{} // held by the command in progress
	out    []byte
	synced bool // the next line answers the next request
	done   chan struct{}

	interrupt   func() // ends what waits on conn, then sends to interrupted
	interrupted chan struct{}

	mu  sync.Mutex
	err error // sticky, set once
}

// NewAgent returns a client on conn and owns it from now on. It does not talk yet.
func NewAgent(conn net.Conn) *Agent {
	a := &Agent{
		conn:        conn,
		frames:      newFrameReader(conn, defaultFrameLimit),
		turn:        make(chan struct{}, 1),
		done:        make(chan struct{}),
		interrupted: make(chan struct{}, 1),
	}
	a.interrupt = func() {
		_ = conn.SetDeadline(aLongTimeAgo)
		a.interrupted <- struct{}{}
	}
	return a
}

// Sync waits until the agent answers, and drops everything that was left from before.
// When ctx ends first the error is errors.ErrAgentUnavailable, with
// errors.ErrQMPTimeout and ctx's inside.
func (a *Agent) Sync(ctx context.Context) error {
	return a.exclusive(ctx, "guest-sync-delimited", func() error { return a.sync(ctx) })
}

// Execute sends a command and waits for its answer, as [Conn].Execute does. A command
// whose ctx ended may still take effect; its answer is dropped before the next command.
func (a *Agent) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	r, err := newRequest(command, args)
	if err != nil {
		return nil, err
	}
	var m message
	err = a.exclusive(ctx, command, func() error {
		if err := a.send(ctx, r); err != nil {
			return err
		}
		line, err := a.frames.next()
		if err != nil {
			return err
		}
		if err := m.parse(trimMarks(line)); err != nil { // the next command syncs again
			return errors.Wrap(errors.ErrAgentUnavailable, "agent "+command, "", err)
		}
		a.synced = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	if m.Error != nil {
		return nil, &errors.QMPError{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	}
	return m.Return, nil
}

// ExecuteNoReply sends a command that is not answered when it succeeds, such as
// guest-shutdown, guest-suspend-disk and guest-suspend-ram, and returns once it is
// written. An error that the agent answers is dropped.
func (a *Agent) ExecuteNoReply(ctx context.Context, command string, args any) error {
	r, err := newRequest(command, args)
	if err != nil {
		return err
	}
	return a.exclusive(ctx, command, func() error { return a.send(ctx, r) })
}

// Done is closed when the connection has ended; Err then says why.
func (a *Agent) Done() <-chan struct{} { return a.done }

// Err is nil while the connection works; then one sticky errors.ErrQMPConnection. An
// agent that ends without closing the port is noticed only by commands that time out.
func (a *Agent) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Close ends the connection; commands in progress fail. It is idempotent.
func (a *Agent) Close() error {
	_ = a.lose(net.ErrClosed)
	return nil
}

// lose makes err, unless there is one already, the sticky error and returns that.
func (a *Agent) lose(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = errors.Wrap(errors.ErrQMPConnection, "guest agent", "", err)
		close(a.done)
		_ = a.conn.Close()
	}
	return a.err
}

// exclusive runs fn when its turn has come. Reads and writes in it end with ctx.
func (a *Agent) exclusive(ctx context.Context, command string, fn func() error) error {
	op := "agent " + command
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return errors.Wrap(errors.ErrQMPTimeout, op, "", ctx.Err())
	case <-a.done:
	}
	if err := a.Err(); err != nil {
		return errors.Wrap(errors.ErrQMPConnection, op, "", err)
	}
	if err := ctx.Err(); err != nil {
		return errors.Wrap(errors.ErrQMPTimeout, op, "", err)
	}
	stop := context.AfterFunc(ctx, a.interrupt)
	err := fn()
	if !stop() {
		<-a.interrupted
		_ = a.conn.SetDeadline(time.Time{})
	}
	var typed *errors.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typed) && typed.Kind != errors.ErrQMPConnection:
		return err
	case ctx.Err() != nil && a.Err() == nil:
		return errors.Wrap(errors.ErrQMPTimeout, op, "", ctx.Err())
	default:
		return errors.Wrap(errors.ErrQMPConnection, op, "", a.lose(err))
	}
}

// send writes r, after a sync if one is needed. Afterwards the stream is out of step
// until the answer was read.
func (a *Agent) send(ctx context.Context, r request) error {
	if !a.synced {
		if err := a.sync(ctx); err != nil {
			return err
		}
	}
	a.synced = false
	a.out = r.append(a.out[:0])
	_, err := a.conn.Write(a.out)
	return err
}

// sync does what [Agent.Sync] says; the caller has the turn. What an interrupted write
// left in the port ends at the mark that the request starts with; answers to earlier
// requests end at the mark before the reply.
func (a *Agent) sync(ctx context.Context) error {
	a.synced = false
	id := rand.Int64N(1<<53-1) + 1 // a number that every JSON reader keeps exact
	a.out = append(a.out[:0], agentMark)
	a.out = request{
		command: "guest-sync-delimited",
		args:    fmt.Appendf(nil, `{"id":%d}`, id),
	}.append(a.out)
	_, err := a.conn.Write(a.out)
	for err == nil && !a.synced {
		if err = a.frames.skipPast(agentMark); err != nil {
			break
		}
		var line []byte
		if line, err = a.frames.next(); err == nil {
			a.synced = isSyncReply(line, id)
		}
	}
	if err != nil && ctx.Err() != nil {
		return &errors.Error{
			Kind: errors.ErrAgentUnavailable, Op: "agent sync",
			Err:  errors.Wrap(errors.ErrQMPTimeout, "no answer", "", ctx.Err()),
			Hint: "is the guest agent running in the guest?",
		}
	}
	return err
}

// isSyncReply reports whether line answers the sync with that id. Anything else after
// a mark answers an older one, or is garbage; before the line's last mark is what an
// agent that was killed did not finish.
func isSyncReply(line []byte, id int64) bool {
	var m message
	if m.parse(line[bytes.LastIndexByte(line, agentMark)+1:]) != nil {
		return false
	}
	var got int64
	return json.Unmarshal(m.Return, &got) == nil && got == id
}

// trimMarks drops the marks before a reply.
func trimMarks(line []byte) []byte {
	for len(line) > 0 && line[0] == agentMark {
		line = line[1:]
	}
	return line
}
