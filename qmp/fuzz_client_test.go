package qmp

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// Whatever a peer does, in whatever order, while commands are in flight and given up: no
// panic, no hang, no reply for another command, one sticky error, no goroutine left.
//
// The input is a script, see clientRun. Handshake with its first byte, then steps of one
// byte and their arguments.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{
		"\x01\x00\x00\x00\x03\x04\x05", "\x01\x00\x00\x02\x02\x07\x01\x06\x03", "\x03\x0e\x08\x08\x08\x08\x08\x08\x08\x0e\x00\x03",
		"\x01\x00\x09\x00\x00\x03\x03", "\x1f\x00\x00\x0a\x05hello\x03", "\x01\x00\x0b\x00\x03", "\x01\x0c\x0a\x00\x00\x00\x09\x00\x09\x01",
		"\x01\x00\x0d\x00", "\x01\x00\x0d\x01", "\x01\x00\x0d\x02", "\x01\x00\x0d\x03", "\x01\x00\x0d\x04", "\x41\x07{\"QMP\":", "\x81\x20",
		"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0f\x00\x0f", "\x00\x02\x00\x0a\x11{\"return\": \"c0\"}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := runtime.NumGoroutine()
		ours, theirs := net.Pipe()
		c := NewClient(EventQueue(4))
		r := &clientRun{fuzzRun: newFuzzRun(t, data, newFuzzPeer(theirs), c.Err), c: c}
		if r.connect(ours) {
			for len(r.in) > 0 {
				r.step()
			}
			r.end()
		}
		require.NoError(t, c.Close())
		r.peer.close()
		requireGoroutines(t, before)
	})
}

type clientRun struct {
	*fuzzRun
	c       *Client
	offered bool // oob
	events  int
	subs    []*Subscription
	seen    []int // number of the last event, by subscription; -1 for none
}

// Bits of a script's first byte.
const (
	withOOB = 1 << iota
	eventFirst
	staleReply // to a command of an earlier client
	eventBetween
	replyWithoutID
	_
	rawFirst    // the next bytes come before the greeting
	cutGreeting // so many bytes of it, then the end
)

// connect does the handshake.
func (r *clientRun) connect(conn net.Conn) bool {
	mode := r.in.next()
	connected := make(chan error, 1)
	go func() { connected <- r.c.Connect(r.t.Context(), conn) }()
	hello := plainHello + "\r\n"
	if r.offered = mode&withOOB != 0; r.offered {
		hello = greeting + "\r\n"
	}
	if mode&eventFirst != 0 {
		r.event()
	}
	if mode&rawFirst != 0 {
		r.raw()
	}
	if mode&cutGreeting != 0 {
		r.peer.write(r.t, hello[:min(int(r.in.next()), len(hello))])
		_ = r.peer.conn.Close()
	} else {
		r.peer.write(r.t, hello)
	}
	var err error
	select {
	case q := <-r.peer.arrived:
		r.greet(mode, q)
		err = <-connected
	case err = <-connected:
	}
	if err != nil {
		require.ErrorIs(r.t, err, errors.ErrQMPConnection)
		require.True(r.t, r.unclear || mode&cutGreeting != 0, "%v", err)
		require.NoError(r.t, r.c.Err(), "the client is as it was")
	}
	return err == nil
}

// greet answers qmp_capabilities.
func (r *clientRun) greet(mode byte, q fuzzRequest) {
	if mode&staleReply != 0 {
		r.peer.write(r.t, `{"return": {"n": 1}}`+"\r\n")
	}
	if mode&eventBetween != 0 {
		r.event()
	}
	if mode&replyWithoutID != 0 {
		r.peer.write(r.t, `{"return": {}}`+"\r\n")
		return
	}
	r.peer.write(r.t, `{"return": {}, "id": `+q.id+"}\r\n")
}

func (r *clientRun) step() {
	switch r.in.next() % 16 {
	case 0, 1:
		r.start(r.c.Execute, false)
	case 2:
		if r.offered {
			r.start(r.c.ExecuteOOB, true)
		}
	case 3, 4, 5:
		r.answer(false)
	case 6:
		r.answer(true)
	case 7:
		r.answerOOB(r.in.next())
	case 8:
		r.event()
	case 9:
		r.cancel(r.in.next())
	case 10:
		r.raw()
	case 11:
		r.half()
	case 12:
		r.stopped = true
		r.peer.stopAfter(int(r.in.next()))
	case 13:
		r.breach(r.in.next())
	case 14:
		r.subscribe()
	case 15:
		for n := len(r.pending); n > 0; n-- {
			r.answer(n%5 == 0)
		}
	}
}

func (r *clientRun) answer(refuse bool) {
	if q, ok := r.oldest(); ok {
		r.peer.write(r.t, q.reply(refuse))
		r.answered()
	}
}

func (r *clientRun) answerOOB(which byte) {
	r.settle(false)
	if len(r.oob) == 0 {
		return
	}
	i := int(which) % len(r.oob)
	r.peer.write(r.t, r.oob[i].reply(which >= 128))
	r.oob = append(r.oob[:i], r.oob[i+1:]...)
}

func (r *clientRun) event() {
	r.peer.write(r.t, fmt.Sprintf(`{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "E", "data": {"n": %d}}`+"\r\n", r.events))
	r.events++
}

// raw writes bytes of the script. Without a colon they are no frame, unless they end one.
func (r *clientRun) raw() {
	text := r.in.take(int(r.in.next()) % 64)
	if bytes.IndexByte(text, ':') >= 0 || r.unclear {
		r.tainted = true
	}
	r.unclear = true
	r.peer.write(r.t, string(text))
}

// half writes a part of a reply; what comes next makes garbage of it.
func (r *clientRun) half() {
	if q, ok := r.oldest(); ok {
		r.unclear = true
		text := q.reply(false)
		r.peer.write(r.t, text[:len(text)/2])
	}
}

// breach does what no QEMU does; the connection ends with it.
func (r *clientRun) breach(which byte) {
	r.broken = true
	switch which % 5 {
	case 0:
		r.peer.write(r.t, greeting+"\r\n")
	case 1:
		r.peer.write(r.t, `{"return": {}, "id": 99999999}`+"\r\n")
	case 2:
		r.tainted = true // a command may take it that is just being written
		r.peer.write(r.t, `{"return": "nobody"}`+"\r\n")
		r.broken = len(r.pending) == 0 && len(r.calls) == 0
	case 3:
		_ = r.peer.conn.Close()
	case 4:
		_ = r.c.Close()
	}
}

// subscribe makes a subscription, or reads those that are there.
func (r *clientRun) subscribe() {
	if len(r.subs) < 3 {
		r.subs, r.seen = append(r.subs, r.c.Subscribe("E")), append(r.seen, -1)
		return
	}
	for i, sub := range r.subs {
		for len(sub.C()) > 0 {
			r.check(i, <-sub.C())
		}
	}
}

// check tells whether an event that a subscription got is the next one.
func (r *clientRun) check(sub int, e Event) {
	if r.tainted {
		return
	}
	n := number(e)
	require.GreaterOrEqual(r.t, n, 0, "%s", e.Data)
	if last := r.seen[sub]; last >= 0 {
		require.Equal(r.t, last+1+e.Dropped, n, "events lost")
	}
	r.seen[sub] = n
}

// end lets the commands that are left return, by their replies where that is possible.
func (r *clientRun) end() {
	if !r.tainted && !r.stopped && !r.unclear && !r.broken {
		for len(r.calls) > 0 {
			r.settle(len(r.pending)+len(r.oob) == 0)
			for len(r.pending) > 0 {
				r.answer(false)
			}
			for len(r.oob) > 0 {
				r.answerOOB(0)
			}
		}
		require.NoError(r.t, r.c.Err())
	}
	if r.broken && !r.unclear && !r.tainted {
		r.drain()
		select {
		case <-r.c.Done():
		case <-time.After(fuzzGuard):
			r.t.Fatalf("the connection did not end\n%s", stacks())
		}
	}
	r.cancelAll()
	r.drain()
	require.NoError(r.t, r.c.Close())
	require.ErrorIs(r.t, r.c.Err(), errors.ErrQMPConnection)
	_, err := r.c.Execute(r.t.Context(), "later", nil)
	require.ErrorIs(r.t, err, r.c.Err(), "not the sticky error")
	for i, sub := range r.subs {
		for e := range sub.C() {
			r.check(i, e)
		}
	}
}
