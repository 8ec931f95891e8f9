package qmp

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// Whatever the port of a guest agent holds, and whoever gives up: no panic, no hang, no
// reply for another command, and in step again after a sync.
//
// The input is a script of steps, see agentRun.
func FuzzAgent(f *testing.F) {
	for _, seed := range []string{
		"\x00\x02\x02\x00\x02", "\x08\x05login\x00\x02\x02", "\x00\x02\x07\x00\x00\x02\x02\x02\x02", "\x00\x02\x09\x00\x02\x02",
		"\x00\x0c\x02\x02\x06", "\x00\x00\x00\x02\x02\x02\x02", "\x00\x02\x02\x0a\x03\x00\x00\x07\x00", "\x00\x02\x0b", "\x00\x0d\x02\x00",
		"\x00\x02\x08\x05a\xffb\ncd\x02\x00\x02\x02", "\x00\x08\x13{\"return\": \"c0\"}\n\x02",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 { // so many writes fit into the socket's buffer, however short
			return
		}
		before := runtime.NumGoroutine()
		ours, theirs := pair(t)
		a := NewAgent(ours)
		r := &agentRun{newFuzzRun(t, data, newFuzzPeer(theirs.conn), a.Err), a}
		for len(r.in) > 0 {
			r.step()
		}
		r.end()
		r.peer.close()
		requireGoroutines(t, before)
	})
}

type agentRun struct {
	*fuzzRun
	a *Agent
}

func (r *agentRun) step() {
	switch r.in.next() % 14 {
	case 0, 1:
		r.start(r.a.Execute, false)
	case 2, 3, 4, 5:
		r.answer(false)
	case 6:
		r.answer(true)
	case 7:
		r.cancel(r.in.next())
	case 8:
		r.garbage(string(r.in.take(int(r.in.next()) % 64)))
	case 9:
		r.cutAnswer()
	case 10:
		r.stopped = true
		r.peer.stopAfter(int(r.in.next()))
	case 11:
		r.broken = true
		_ = r.peer.conn.Close()
	case 12:
		r.staleSync()
	case 13:
		r.broken = true
		require.NoError(r.t, r.a.Close())
	}
}

// answer answers the oldest request, as the agent does, which handles one at a time.
func (r *agentRun) answer(refuse bool) {
	q, ok := r.oldest()
	if !ok {
		return
	}
	text := q.reply(refuse)
	if q.sync != nil {
		text = "\xff" + `{"return": ` + string(q.sync) + "}\n"
	}
	r.peer.write(r.t, text)
	r.answered()
}

// garbage writes a line of the script. Without a colon it is no frame. Before the
// answer to a sync it needs no end.
func (r *agentRun) garbage(text string) {
	if strings.Contains(text, ":") {
		r.tainted = true
	}
	r.garbled = true
	if q, ok := r.oldest(); !ok || q.sync == nil {
		text += "\n"
	}
	r.peer.write(r.t, text)
}

// cutAnswer is half a reply to a command.
func (r *agentRun) cutAnswer() {
	if q, ok := r.oldest(); ok && q.sync == nil {
		r.garbled = true
		text := q.reply(false)
		r.peer.write(r.t, text[:len(text)/2]+"\n")
		r.answered()
	}
}

// staleSync is the answer to an earlier client's sync.
func (r *agentRun) staleSync() {
	if q, ok := r.oldest(); ok && q.sync != nil {
		r.peer.write(r.t, "\xff{\"return\": 12345}\n")
	}
}

// end lets the commands that are left return, by their replies where that is possible.
func (r *agentRun) end() {
	if !r.tainted && !r.stopped && !r.broken {
		for len(r.calls) > 0 && r.a.Err() == nil {
			r.answer(false)
		}
		require.NoError(r.t, r.a.Err())
	}
	r.cancelAll()
	r.drain()
	require.NoError(r.t, r.a.Close())
	_, err := r.a.Execute(r.t.Context(), "later", nil)
	require.ErrorIs(r.t, err, errors.ErrQMPConnection)
	require.ErrorIs(r.t, err, r.a.Err(), "not the sticky error")
}
