package qmptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Fault is something that goes wrong with a connection. Where it happens is said by
// [Server.Inject], [Server.OnCommand] or [Server.OnConnect]. Some faults take the place
// of a reply (or of the greeting), others happen before it. The zero value is no fault.
type Fault struct {
	// do is called in place of writing reply, which is nil where there is none.
	do func(l *link, r Request, reply []byte)
}

// before makes a fault that is followed by the reply.
func before(do func(l *link)) Fault {
	return Fault{func(l *link, _ Request, reply []byte) {
		do(l)
		l.write(reply)
	}}
}

// Inject makes f happen now on every connection, and returns when it has. For faults
// that take a reply's place, the reply is an extra one: {"return": {}}.
func (s *Server) Inject(f Fault) {
	for _, l := range s.open() {
		if f.do != nil {
			f.do(l, Request{}, nil)
		}
	}
}

// OnCommand makes f happen whenever command was executed, until it is called again for
// that command; the zero Fault ends it.
func (s *Server) OnCommand(command string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCommand[command] = f
}

// OnConnect makes f happen to every connection that comes from now on, in place of the
// greeting or before it; the zero Fault ends that.
func (s *Server) OnConnect(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onConnect = f
}

func (s *Server) commandFault(command string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.onCommand[command]
}

func (s *Server) connectFault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.onConnect
}

// All is several faults in turn; the last one decides about the reply.
func All(faults ...Fault) Fault {
	return Fault{func(l *link, r Request, reply []byte) {
		for i, f := range faults {
			last := i == len(faults)-1
			switch {
			case f.do != nil && last:
				f.do(l, r, reply)
			case f.do != nil:
				f.do(l, r, nil)
			case last:
				l.write(reply)
			}
		}
	}}
}

// Silent is a reply that never comes. Commands behind it on the connection wait for
// ever, as they do behind a command that hangs in QEMU; only events come, and replies
// to out-of-band commands. With OnConnect it is a peer that does not even greet.
func Silent() Fault {
	return Fault{func(l *link, r Request, reply []byte) {
		if reply != nil && !r.OOB {
			<-l.ctx.Done()
		}
	}}
}

// Late is a reply that comes after d, with all that is behind it.
func Late(d time.Duration) Fault {
	return before(func(l *link) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.ctx.Done():
		}
	})
}

// HalfFrame is the first half of the reply, and then nothing any more on that
// connection: no reply and no event. What the client sends is still read.
func HalfFrame() Fault {
	return Fault{func(l *link, _ Request, reply []byte) {
		reply = orExtra(l, reply)
		l.out.Lock()
		defer l.out.Unlock()
		l.put(reply[:len(reply)/2])
		l.out.mute = true
	}}
}

// Garbage is a line of text that comes before the reply.
func Garbage(line string) Fault {
	return before(func(l *link) { l.write([]byte(line + l.server.lineEnd())) })
}

// Greeting is one more greeting before the reply, or two at the start.
func Greeting() Fault {
	return before(func(l *link) { l.write(l.server.greeting()) })
}

// ExtraReply is one more reply, which answers no command, after the reply.
func ExtraReply() Fault {
	return Fault{func(l *link, _ Request, reply []byte) {
		l.write(reply)
		l.write(orExtra(l, nil))
	}}
}

// WrongID is the reply with an id that is not the request's: any value that marshals
// to JSON.
func WrongID(id any) Fault {
	return Fault{func(l *link, r Request, _ []byte) {
		raw, err := json.Marshal(id)
		if err != nil {
			l.server.failed("wrong id", err)
			return
		}
		l.write(l.server.reply(Request{ID: raw}, nil, nil))
	}}
}

// Huge is a reply that is a frame of that many bytes, its line end included: a string of
// x. It is written piece by piece and needs no memory of its size.
func Huge(size int) Fault {
	return Fault{func(l *link, r Request, _ []byte) {
		start := []byte(`{"return": "`)
		end := []byte(`"`)
		if r.ID != nil {
			end = fmt.Appendf(end, `, "id": %s`, r.ID)
		}
		end = append(append(end, '}'), l.server.lineEnd()...)
		l.out.Lock()
		defer l.out.Unlock()
		l.put(start)
		l.fill(size - len(start) - len(end))
		l.put(end)
	}}
}

// fill writes n times x. The caller holds the mutex.
func (l *link) fill(n int) {
	piece := bytes.Repeat([]byte("x"), 64<<10)
	for n > 0 && l.ctx.Err() == nil {
		piece = piece[:min(n, len(piece))]
		l.put(piece)
		n -= len(piece)
	}
}

// Flood is n events of that name before the reply, written as fast as the client reads
// them, about 500 at a time. Each has its number, from 0, in its data: {"n": 0}. Other
// frames may come in between.
func Flood(event string, n int) Fault {
	const burst = 64 << 10
	return before(func(l *link) {
		buf := make([]byte, 0, burst+256)
		for i := range n {
			buf = append(buf, `{"timestamp": {"seconds": 1700000000, "microseconds": 0}, "event": "`...)
			buf = append(append(buf, event...), `", "data": {"n": `...)
			buf = append(strconv.AppendInt(buf, int64(i), 10), "}}\r\n"...)
			if len(buf) >= burst || i == n-1 {
				l.write(buf)
				buf = buf[:0]
			}
			if l.ctx.Err() != nil {
				return
			}
		}
	})
}

// StopReading makes the peer read n more bytes and then none, for ever; what it has
// read is still answered. With n of 0 it stops at once, with OnConnect n counts from
// the first byte.
func StopReading(n int) Fault { return before(func(l *link) { l.readAtMost(n) }) }

// CloseAt closes the connection after n more bytes were written, with OnConnect counted
// from the first one. With n of 0 it closes at once, without the reply.
func CloseAt(n int) Fault {
	return before(func(l *link) { l.writeAtMost(n, l.hangUp) })
}

// StallAt lets n more bytes be written and then none, for ever. What the client sends
// is still read.
func StallAt(n int) Fault {
	return before(func(l *link) { l.writeAtMost(n, func() {}) })
}

// HangUp closes the connection in place of the reply, as the end of QEMU does.
func HangUp() Fault {
	return Fault{func(l *link, _ Request, _ []byte) { l.hangUp() }}
}

// Reset is HangUp without good manners: on TCP what was written but not sent yet is
// lost, and the client gets ECONNRESET. A unix socket gives ECONNRESET to clients with
// unread requests only.
func Reset() Fault {
	return Fault{func(l *link, _ Request, _ []byte) { l.reset() }}
}

// orExtra returns reply, or one to no command.
func orExtra(l *link, reply []byte) []byte {
	if reply != nil {
		return reply
	}
	return l.server.reply(Request{}, nil, nil)
}
