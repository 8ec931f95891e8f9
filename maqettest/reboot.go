package maqettest

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qapi"
)

// Reboot asks the guest's system to reboot, and returns when its agent answers again. Programs
// that were started have ended by then; what was written to disks is there. The test fails
// when that takes longer than Config.Timeouts.Ready (default: 60 s, under TCG four times that;
// see [Guest.Within]). (For the reset button, which asks nobody, use g.Reset.)
func (g *Guest) Reboot() {
	g.tb.Helper()
	limit := readyLimit * g.slowness()
	if inst, err := g.Instance(g.tb.Context()); err == nil && inst.Config.Timeouts.Ready > 0 {
		limit = time.Duration(inst.Config.Timeouts.Ready)
	}
	ctx, cancel, _ := g.waiting(limit)
	defer cancel()
	if err := g.reboot(ctx); err != nil {
		g.tb.Fatalf("maqettest: guest %s: reboot: %v", g.Name(), err)
	}
}

func (g *Guest) reboot(ctx context.Context) error {
	guard, stop, err := g.Maqet.VM.Guard(ctx, g.ID())
	if err != nil {
		return err
	}
	defer stop()
	resets, err := g.Events(guard, qapi.EventReset) // subscribed before what causes it
	if err != nil {
		return err
	}
	// The agent has no answer but a refusal (QEMU Guest Agent Protocol Reference,
	// guest-shutdown): the reset ends the call.
	_, err = g.Maqet.Guest.Agent(guard, g.ID(), "guest-shutdown", map[string]string{"mode": "reboot"})
	if err != nil && !errors.Is(err, errors.ErrAgentUnavailable) {
		return err
	}
	select {
	case _, ok := <-resets:
		if !ok {
			return errors.Join(context.Cause(guard), err)
		}
	case <-guard.Done():
		return errors.Join(context.Cause(guard), err)
	}
	return g.answersAgain(guard)
}

// answersAgain returns when the agent of a guest that was reset answers. Sessions with the one
// before it end with an error, which says nothing of the new one.
func (g *Guest) answersAgain(ctx context.Context) error {
	for {
		err := g.Maqet.Guest.Ping(ctx, g.ID())
		if err == nil || ctx.Err() != nil || !errors.Is(err, errors.ErrAgentUnavailable) {
			return err
		}
	}
}
