package guest

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
)

// errLost marks a connection to the guest that broke.
var errLost = errors.New("the connection to the guest was lost")

// lost returns err as that of a connection that broke.
func lost(err error) error {
	return &errors.Error{Kind: errors.ErrAgentUnavailable, Err: errors.Join(errLost, err)}
}

// causeGrace is how long a call whose connection broke waits to be told why: QEMU's
// sockets close a moment before its exit is known.
const causeGrace = 500 * time.Millisecond

// call is one operation on one guest.
type call struct {
	m       *Manager
	op, ref string
	closing context.Context // ends with the manager's Close
	caller  context.Context
	// guard ends with caller, and when the guest exits, panics or falls silent.
	guard context.Context
	// ctx is guard but for silence: a program may run for hours without a word.
	ctx  context.Context
	ends []func()
}

func (m *Manager) begin(ctx context.Context, op, ref string) (*call, error) {
	guard, release, err := m.machines.Guard(ctx, ref)
	if err != nil {
		return nil, err
	}
	c := &call{m: m, op: op, ref: ref, closing: m.ctx, caller: ctx, guard: guard}
	var cancel context.CancelCauseFunc
	c.ctx, cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(guard, func() {
		if cause := context.Cause(guard); !errors.Is(cause, errors.ErrGuestSilent) {
			cancel(cause)
		}
	})
	c.ends = []func(){func() { stop() }, func() { cancel(nil) }, release}
	return c, nil
}

func (c *call) end() {
	for _, fn := range c.ends {
		fn()
	}
}

// do runs fn with the session of a guest and explains its error.
func (m *Manager) do(ctx context.Context, op, ref string, fn func(ctx context.Context, w way) error) error {
	return m.at(ref).do(ctx, op, fn)
}

// entrance is how one guest is worked in: by the session that the manager has with it, or
// by a way of the caller's own.
type entrance struct {
	m   *Manager
	ref string
	own way // nil: the manager's session
}

// at returns the entrance by the manager's session.
func (m *Manager) at(ref string) entrance { return entrance{m: m, ref: ref} }

// do runs fn with the way in and explains its error.
func (e entrance) do(ctx context.Context, op string, fn func(ctx context.Context, w way) error) error {
	c, err := e.m.begin(ctx, op, e.ref)
	if err != nil {
		return err
	}
	defer c.end()
	w := e.own
	if w == nil {
		if w, err = e.m.enter(c); err != nil {
			return c.explain(err)
		}
	}
	return c.explain(fn(c.ctx, w))
}

// name returns a VM's name, for messages: a handle's reference is an ID, which says
// little to a person.
func (m *Manager) name(ref string) string {
	inst, err := m.machines.Get(context.Background(), ref)
	if err != nil {
		return ref
	}
	return inst.Name
}

// explain returns what really ended the call: the guest's end as Guard reports it,
// unchanged; the caller's context; or err.
func (c *call) explain(err error) error {
	if err == nil {
		return nil
	}
	broken, ended := errors.Is(err, errLost), isContextError(err) || c.caller.Err() != nil && errors.Is(err, context.Cause(c.caller))
	if broken && c.caller.Err() == nil {
		grace := time.NewTimer(causeGrace)
		defer grace.Stop()
		select {
		case <-c.guard.Done():
		case <-c.closing.Done():
		case <-grace.C:
		}
	}
	if !broken && !ended {
		return c.name(err)
	}
	if c.caller.Err() != nil {
		return &errors.Error{Kind: errors.ErrGuest, Op: c.op, VM: c.m.name(c.ref), Err: contextError(c.caller)}
	}
	if cause := context.Cause(c.guard); cause != nil {
		return cause
	}
	return c.name(err)
}

// name puts the operation and the VM on an error that has a kind but neither, and
// gives a kind to one that has none.
func (c *call) name(err error) error {
	var e *errors.Error
	if errors.As(err, &e) && e == err && e.Op == "" {
		e.Op, e.VM = c.op, c.m.name(c.ref)
		return e
	}
	if errors.KindOf(err) == nil {
		return errors.Wrap(errors.ErrGuest, c.op, c.m.name(c.ref), err)
	}
	return err
}

// contextError is how a context ended: its error, and its cause where that is another.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	if errors.Is(err, cause) {
		return err
	}
	return errors.Join(err, cause)
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
