package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// fuzzCalls is how many commands one script starts at most.
const fuzzCalls = 32

// fuzzCall is one command in flight; its name is told apart from all others, and is what
// the peer answers it with.
type fuzzCall struct {
	name   string
	oob    bool
	ctx    context.Context
	cancel context.CancelFunc
	out    json.RawMessage
	err    error
}

// fuzzRun is what the fuzzed client and the fuzzed agent have in common: the commands in
// flight, and the requests that the peer has read and not answered.
type fuzzRun struct {
	t    *testing.T
	in   fuzzScript
	peer *fuzzPeer

	calls    []*fuzzCall // that have not returned
	started  int
	returned chan *fuzzCall
	pending  []fuzzRequest // in band, in their order
	oob      []fuzzRequest

	tainted bool // the peer may have written what can be taken for a reply
	stopped bool // the peer does not read
	unclear bool // the peer wrote no whole frames: replies may not get through
	garbled bool // an agent's peer wrote no whole frames, of which one costs a command
	broken  bool // the connection must end, or has ended
	lost    func() error
}

func newFuzzRun(t *testing.T, data []byte, peer *fuzzPeer, lost func() error) *fuzzRun {
	return &fuzzRun{t: t, in: data, peer: peer, lost: lost, returned: make(chan *fuzzCall, fuzzCalls)}
}

type executeFunc func(ctx context.Context, command string, args any) (json.RawMessage, error)

// start executes a command in a goroutine.
func (r *fuzzRun) start(execute executeFunc, oob bool) {
	if r.started == fuzzCalls {
		return
	}
	call := &fuzzCall{name: fmt.Sprintf("c%d", r.started), oob: oob}
	call.ctx, call.cancel = context.WithCancel(context.Background())
	var args any
	if r.started%4 == 3 {
		args = map[string]string{"text": "a longer request, {\"that\": \"can be cut\"}"}
	}
	r.started++
	r.calls = append(r.calls, call)
	go func() {
		call.out, call.err = execute(call.ctx, call.name, args)
		r.returned <- call
	}()
}

// cancel ends the context of one of the calls.
func (r *fuzzRun) cancel(which byte) {
	if len(r.calls) > 0 {
		r.calls[int(which)%len(r.calls)].cancel()
	}
}

// finish checks what a call returned.
func (r *fuzzRun) finish(call *fuzzCall) {
	r.calls = slices.DeleteFunc(r.calls, func(c *fuzzCall) bool { return c == call })
	var refused *errors.QMPError
	switch err := call.err; {
	case err == nil:
		if !r.tainted && string(call.out) != strconv.Quote(call.name) {
			r.t.Fatalf("%s got the reply %s", call.name, call.out)
		}
	case errors.As(err, &refused):
		if !r.tainted && refused.Desc != call.name {
			r.t.Fatalf("%s got the error %v", call.name, err)
		}
	case errors.Is(err, errors.ErrQMPTimeout):
		require.ErrorIs(r.t, err, context.Canceled)
		require.Error(r.t, call.ctx.Err(), "%s: %v", call.name, err)
	case errors.Is(err, errors.ErrQMPConnection):
		require.ErrorIs(r.t, err, r.lost(), "not the sticky error")
	default:
		require.ErrorIs(r.t, err, errors.ErrAgentUnavailable)
		require.True(r.t, r.garbled, "%v", err)
	}
	call.cancel()
}

// took notes a request that has arrived.
func (r *fuzzRun) took(q fuzzRequest) {
	if q.id != "" {
		r.oob = append(r.oob, q)
		return
	}
	r.pending = append(r.pending, q)
}

// settle takes in what has happened. With wait it waits for something, if anything can.
func (r *fuzzRun) settle(wait bool) (happened bool) {
	for {
		select {
		case q := <-r.peer.arrived:
			r.took(q)
			happened = true
			continue
		case call := <-r.returned:
			r.finish(call)
			happened = true
			continue
		default:
		}
		if happened || !wait {
			return happened
		}
		guard := time.NewTimer(fuzzGuard)
		select {
		case q := <-r.peer.arrived:
			r.took(q)
		case call := <-r.returned:
			r.finish(call)
		case <-guard.C:
			r.t.Fatalf("nothing happens\n%s", stacks())
		}
		guard.Stop()
		happened = true
	}
}

// oldest returns the in-band request whose turn it is to be answered. It waits for one,
// if one must come.
func (r *fuzzRun) oldest() (fuzzRequest, bool) {
	r.settle(false)
	for len(r.pending) == 0 {
		inBand := slices.ContainsFunc(r.calls, func(c *fuzzCall) bool { return !c.oob })
		if !inBand || r.stopped || r.broken || r.unclear || r.lost() != nil {
			return fuzzRequest{}, false
		}
		r.settle(true)
	}
	return r.pending[0], true
}

// answered takes away the request that oldest returned.
func (r *fuzzRun) answered() { r.pending = r.pending[1:] }

// drain waits until all calls have returned.
func (r *fuzzRun) drain() {
	for len(r.calls) > 0 {
		r.settle(true)
	}
}

func (r *fuzzRun) cancelAll() {
	for _, call := range r.calls {
		call.cancel()
	}
}

// reply is the right answer to a command, or an error that names it.
func (q fuzzRequest) reply(refuse bool) string {
	id := ""
	if q.id != "" {
		id = `, "id": ` + q.id
	}
	if refuse {
		return `{"error": {"class": "GenericError", "desc": "` + q.name + `"}` + id + "}\r\n"
	}
	return `{"return": "` + q.name + `"` + id + "}\r\n"
}

// number returns the number that an event has as its data, {"n": 5}; -1 for none.
func number(e Event) int {
	digits, ok := bytes.CutPrefix(e.Data, []byte(`{"n": `))
	if !ok {
		return -1
	}
	n, err := strconv.Atoi(string(bytes.TrimSuffix(digits, []byte("}"))))
	if err != nil {
		return -1
	}
	return n
}
