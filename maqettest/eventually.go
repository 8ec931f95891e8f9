package maqettest

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// Eventually calls check, in growing intervals from 5 to 500 ms, until it returns nil. The test
// fails when it has not within 30 s (under TCG two minutes; see [Guest.Within]), and at once when
// the guest exits or panics; the message has the last error. check runs in the calling
// goroutine; it should use what returns errors, such as g.Exec: a call that fails the test does
// so at the first try.
func (g *Guest) Eventually(check func() error) {
	g.tb.Helper()
	ctx, cancel, limit := g.waiting(g.usual())
	defer cancel()
	if guard, stop, err := g.Maqet.VM.Guard(ctx, g.ID()); err == nil { // else it does not run
		defer stop()
		ctx = guard
	}
	tries, err := eventually(ctx, check)
	switch cause := context.Cause(ctx); {
	case err == nil:
	case interrupted(cause):
		g.tb.Fatalf("maqettest: guest %s: not so within %v, after %d tries: %v", g.Name(), limit, tries, err)
	default:
		g.tb.Fatalf("maqettest: guest %s: not so, and never will be: %v\nThe last try: %v", g.Name(), cause, err)
	}
}

// Intervals between two tries of Eventually.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// eventually returns how often it has tried, and the last error. It tries once more when ctx
// has ended: the guest's end may be what check looks for.
func eventually(ctx context.Context, check func() error) (tries int, err error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := firstPause; ; pause = min(pause*3/2, lastPause) {
		last := ctx.Err() != nil
		tries++
		if err = check(); err == nil || last {
			return tries, err
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

// WaitFor returns when all conditions hold in the guest. The test fails when one can't come true
// any more, when the guest exits, panics or falls silent, and after 30 s (under TCG two minutes;
// see [Guest.Within]); the message names the conditions that are still to come.
func (g *Guest) WaitFor(conds ...guest.Condition) {
	g.tb.Helper()
	ctx, cancel, _ := g.waiting(g.usual())
	defer cancel()
	g.check(g.Machine.WaitFor(ctx, conds...))
}

// interrupted reports whether an error is only that a context has ended.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
