package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/asciijson"
)

// Carrier has a request carried to QEMU and returns the whole reply: {"return": ...} or
// {"error": ...}. The request is ASCII and has no id. It is called for one request at a
// time, and may go on when nobody waits for its answer any more; ctx ends with the [Relay].
//
// An error is why there is no reply. An *errors.QMPError and those of kind errors.ErrQMP
// reach the caller as they are; others as errors.ErrQMPConnection.
type Carrier func(ctx context.Context, request []byte) (reply []byte, err error)

// Relay is a [Conn] to a QEMU whose monitor somebody else holds, such as libvirt, who
// carries commands there and tells the events. It stands for the QEMU, not for one
// connection to whom carries: when that is lost, commands fail until there is another,
// and subscriptions last. Only End and Close end it.
//
// One command is under way at a time, as whoever holds a monitor sends one after the
// other anyway. A cancelled command returns at once, but the next one waits until it
// is answered.
type Relay struct {
	carry Carrier
	hub   *hub
	taps  taps
	turn  chan struct{} // held while a command is carried
	work  sync.WaitGroup

	life context.Context // ends when err is set
	over context.CancelFunc

	mu   sync.Mutex
	open bool
	err  error
}

var _ Tapper = (*Relay)(nil)

// NewRelay returns a Relay that executes nothing before Open. Subscriptions can be made
// at once, so that they miss nothing.
func NewRelay(carry Carrier) *Relay {
	r := &Relay{carry: carry, hub: newHub(defaultQueue), turn: make(chan struct{}, 1)}
	r.life, r.over = context.WithCancel(context.Background()) // ends with End
	return r
}

// Open lets commands through. It is idempotent.
func (r *Relay) Open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = true
}

// Publish hands an event of QEMU to the subscribers, before and after Open. One called
// [EventGap] tells all of them that events may be missing.
func (r *Relay) Publish(e Event) {
	if r.taps.any() && e.Name != EventGap {
		r.taps.received(wireEvent(e), "")
	}
	r.hub.publish(e)
}

// wireEvent is an event in the form that QEMU sends.
func wireEvent(e Event) []byte {
	out, err := json.Marshal(struct {
		Timestamp timestamp       `json:"timestamp"`
		Event     string          `json:"event"`
		Data      json.RawMessage `json:"data,omitempty"`
	}{timestamp{e.Time.Unix(), int64(e.Time.Nanosecond() / 1000)}, e.Name, e.Data})
	if err != nil { // its data is no JSON
		return fmt.Appendf(nil, "# %s: %v", e.Name, err)
	}
	return out
}

// End makes err the reason why the connection has ended, unless there is one already, and
// returns that: errors.ErrQMPConnection. Commands under way fail with it, subscriptions end.
func (r *Relay) End(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = errors.Wrap(errors.ErrQMPConnection, "", "", err)
		r.hub.end()
		r.over()
	}
	return r.err
}

// Execute implements [Conn]. Before Open it fails with errors.ErrQMPConnection.
func (r *Relay) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	q, err := newRequest(command, args)
	if err != nil {
		return nil, err
	}
	rep, err := r.execute(ctx, q)
	var refused *errors.QMPError
	switch {
	case err == nil && rep.err == nil:
		return rep.result, nil
	case err == nil:
		return nil, &errors.QMPError{Command: command, Class: rep.err.Class, Desc: rep.err.Desc}
	case errors.As(err, &refused):
		named := *refused
		named.Command = command
		return nil, &named
	case ctx.Err() != nil && r.Err() == nil:
		return nil, errors.Wrap(errors.ErrQMPTimeout, "QMP "+command, "", err)
	}
	kind := errors.ErrQMPConnection
	if errors.Is(err, errors.ErrQMP) {
		kind = errors.KindOf(err)
	}
	return nil, errors.Wrap(kind, "QMP "+command, "", err)
}

func (r *Relay) execute(ctx context.Context, q request) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, err
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-r.life.Done():
		return reply{}, r.Err()
	}
	answer := make(chan result, 1)
	if err := r.start(q, answer); err != nil {
		<-r.turn
		return reply{}, err
	}
	select {
	case res := <-answer:
		return res.reply, res.err
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-r.life.Done():
		return reply{}, r.Err()
	}
}

type result struct {
	reply reply
	err   error
}

// start carries a command in a goroutine that gives the turn back.
func (r *Relay) start(q request, answer chan<- result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return r.err
	case !r.open:
		return errors.New("not connected")
	}
	r.work.Go(func() {
		rep, err := r.exchange(q)
		<-r.turn
		answer <- result{rep, err}
	})
	return nil
}

func (r *Relay) exchange(q request) (reply, error) {
	// It has no id: libvirt puts in its own and refuses one that has another.
	request := asciijson.Escape(q.append(nil))
	shown := r.taps.sending()
	r.taps.show(Frame{Sent: true, Data: request})
	shown()
	out, err := r.carry(r.life, request)
	if err != nil {
		r.taps.received([]byte("# "+err.Error()), q.command)
		return reply{}, err
	}
	r.taps.received(out, q.command)
	var m message
	if err := m.parse(out); err != nil {
		return reply{}, &errors.Error{Kind: errors.ErrQMP, Msg: "the reply makes no sense", Err: err}
	}
	return reply{result: m.Return, err: m.Error}, nil
}

// Subscribe implements [Conn]. It works before Open, too.
func (r *Relay) Subscribe(names ...string) *Subscription { return r.hub.subscribe(names) }

// Tap implements [Tapper]. Events come without their wire form: it is made anew.
func (r *Relay) Tap(fn func(Frame)) (stop func()) { return r.taps.add(fn) }

// Done implements [Conn].
func (r *Relay) Done() <-chan struct{} { return r.life.Done() }

// Err implements [Conn]. It is nil before Open, too.
func (r *Relay) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close implements [Conn]. It is idempotent, and waits for the command under way: the
// carrier's context has ended.
func (r *Relay) Close() error {
	_ = r.End(net.ErrClosed)
	r.work.Wait()
	r.hub.close()
	return nil
}
