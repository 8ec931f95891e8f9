package guest

import (
	"context"
	"strings"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Condition is something to wait for in a guest. Conditions compose with [All] and
// [Any]; programs may have their own.
type Condition interface {
	// Wait returns nil when the condition holds; an error says why it never will, or is
	// ctx's. It must return soon after ctx ends.
	Wait(ctx context.Context, t Target) error
	// String names the condition for messages: "agent answers".
	String() string
}

// Target is the guest that a Condition looks at.
type Target struct{ entrance }

// Ref is the VM's name or ID.
func (t Target) Ref() string { return t.ref }

// Manager works in the guest.
func (t Target) Manager() *Manager { return t.m }

// Instance returns the VM's record.
func (t Target) Instance(ctx context.Context) (vm.Instance, error) {
	return t.m.machines.Get(ctx, t.ref)
}

// Live returns the running guest.
func (t Target) Live(ctx context.Context) (vm.Guest, error) { return t.m.machines.Live(ctx, t.ref) }

// Wait returns when all conditions hold, each of which is waited for at the same time.
//
// It ends at once when one can't come true any more, and when the guest exits, panics
// or falls silent. When ctx ends first the error is errors.ErrWaitTimeout (for a
// deadline) and ctx's. Every error names the conditions that are still to come.
func (m *Manager) Wait(ctx context.Context, ref string, conds ...Condition) error {
	return m.at(ref).wait(ctx, conds)
}

func (e entrance) wait(ctx context.Context, conds []Condition) error {
	const op = "wait for VM"
	c, err := e.m.begin(ctx, op, e.ref)
	if err != nil {
		return err
	}
	defer c.end()
	conds = flatten(conds)
	pending, err := waitAll(c.guard, Target{e}, conds)
	if err == nil {
		return nil
	}
	failure := &errors.Error{Kind: errors.KindOf(err), Op: op, VM: e.ref, Err: err}
	switch cause := context.Cause(c.guard); {
	case ctx.Err() != nil:
		failure.Kind, failure.Err = errors.ErrGuest, lastWords(ctx, err)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			failure.Kind = errors.ErrWaitTimeout
		}
	case cause != nil:
		failure.Kind, failure.Err = errors.KindOf(cause), cause
	}
	if failure.Kind == nil {
		failure.Kind = errors.ErrGuest
	}
	failure.Msg = "still to come: " + names(pending, ", ")
	return failure
}

// lastWords is how ctx ended, with what the condition had to say meanwhile.
func lastWords(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return err
	}
	return errors.Join(contextError(ctx), err)
}

// Until binds conditions to this manager, for vm.WaitFor.
func (m *Manager) Until(conds ...Condition) vm.Condition { return until{m, conds} }

type until struct {
	m     *Manager
	conds []Condition
}

func (u until) Wait(ctx context.Context, ref string) error { return u.m.Wait(ctx, ref, u.conds...) }
func (u until) String() string                             { return names(u.conds, " and ") }

// All holds when every one of conds has held. They are waited for at the same time.
func All(conds ...Condition) Condition { return all(conds) }

type all []Condition

func (a all) Wait(ctx context.Context, t Target) error {
	_, err := waitAll(ctx, t, a)
	return err
}

func (a all) String() string { return "(" + names(a, " and ") + ")" }

// flatten replaces each All by what it is made of, so that messages name only the
// part that is missing.
func flatten(conds []Condition) []Condition {
	var flat []Condition
	for _, c := range conds {
		if inner, ok := c.(all); ok {
			flat = append(flat, flatten(inner)...)
		} else {
			flat = append(flat, c)
		}
	}
	return flat
}

// waitAll returns when all conditions hold or one has failed, and then what did not
// hold yet. All of its goroutines have ended by then.
func waitAll(ctx context.Context, t Target, conds []Condition) (pending []Condition, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make([]error, len(conds))
	first := make(chan error, len(conds))
	var wg sync.WaitGroup
	for i, c := range conds {
		wg.Go(func() {
			if results[i] = c.Wait(ctx, t); results[i] != nil {
				first <- results[i]
				cancel()
			}
		})
	}
	wg.Wait()
	for i, c := range conds {
		if results[i] != nil {
			pending = append(pending, c)
		}
	}
	if len(pending) > 0 {
		err = <-first
	}
	return pending, err
}

// Any holds as soon as one of conds does. It fails when all have failed. Any of
// nothing never holds.
func Any(conds ...Condition) Condition { return anyOf(conds) }

type anyOf []Condition

func (a anyOf) Wait(ctx context.Context, t Target) error {
	if len(a) == 0 {
		return errors.New("there is nothing to wait for")
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	results := make(chan error, len(a))
	for _, c := range a {
		wg.Go(func() { results <- c.Wait(ctx, t) })
	}
	errs := make([]error, 0, len(a)+1)
	for range a {
		err := <-results
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, ctx.Err())...)
}

func (a anyOf) String() string { return "(" + names(a, " or ") + ")" }

func names(conds []Condition, sep string) string {
	text := make([]string, len(conds))
	for i, c := range conds {
		text[i] = c.String()
	}
	return strings.Join(text, sep)
}
