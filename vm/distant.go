package vm

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// Distant is a [Guest] on a host that can be out of reach while the guest runs on.
type Distant interface {
	// Reach tells when the host stops answering, with an error that is
	// errors.ErrHostUnreachable, and when it answers again, with nil. An outage that is over
	// soon is not told. It is never closed. Nobody but the Manager reads it.
	Reach() <-chan error
}

// unreachable reports whether the VM counts as failed only because its host does not answer.
func (i Instance) unreachable() bool { return i.State == Failed && i.Reason == ReasonHostUnreachable }

// held reports whether a guest of the VM may exist: it is live, or nobody can look.
func (i Instance) held() bool { return i.State.Live() || i.unreachable() }

// returns reports whether the VM can be found in a state when its host answers again.
func (i Instance) returns(to State) bool {
	return i.unreachable() && (to == Running || to == Paused || to == Stopped || to == Failed)
}

// errUnreachable refuses an operation on a VM that nobody can look after.
func errUnreachable(op string, inst Instance) error {
	return &errors.Error{Kind: errors.ErrHostUnreachable, Op: op, VM: inst.Name,
		Msg: "its host does not answer, and its guest may run on there", Hint: "try again when the host can be reached"}
}

// reach follows whether the guest's host answers.
func (g *liveGuest) reach(changes <-chan error) {
	for {
		select {
		case err := <-changes:
			if err != nil {
				g.lost(err)
			} else {
				g.returned()
			}
		case <-g.guest.Done():
			return
		case <-g.ctx.Done():
			return
		}
	}
}

// lost records that the guest is out of reach.
func (g *liveGuest) lost(cause error) {
	g.m.log.Warn("VM's host does not answer", "vm", g.name, "error", cause)
	err := g.m.states.retry(g.ctx, g.id, func(inst Instance) error {
		if !g.owns(inst) || g.m.live.entry(g.id) != g || inst.State != Running && inst.State != Paused {
			return nil // it has moved, or an operation is under way, which will fail
		}
		_, err := g.m.states.move(g.ctx, inst, Failed, ReasonHostUnreachable, nil)
		return err
	})
	if err != nil && g.ctx.Err() == nil {
		g.m.log.Warn("VM state not recorded", "vm", g.name, "state", Failed, "error", err)
	}
}

// returned records what the guest is found to be.
func (g *liveGuest) returned() {
	g.sign() // nothing was heard of it meanwhile
	inst, err := g.heal(g.ctx)
	switch {
	case err == nil:
		g.m.log.Info("VM's host answers again", "vm", g.name, "state", inst.State)
	case g.ctx.Err() == nil && !gone(g.guest):
		g.m.log.Warn("VM's host answers again, its guest does not", "vm", g.name, "error", err)
	}
}

// heal records what a guest that was out of reach is found to be, and returns the record as it is
// then. One that is an operation's by now, such as Stop's, is left to that.
func (g *liveGuest) heal(ctx context.Context) (inst Instance, err error) {
	err = g.m.states.retry(ctx, g.id, func(now Instance) error {
		if inst = now; !now.unreachable() || !g.owns(now) {
			return nil
		}
		inst, err = g.m.agree(ctx, g, now)
		return err
	})
	return inst, err
}

// loseTouch records that the host of a VM that is live, as far as is known, can't be reached.
func (m *Manager) loseTouch(ctx context.Context, inst Instance) (Instance, error) {
	if inst.unreachable() {
		return inst, nil
	}
	return m.states.move(ctx, inst, Failed, ReasonHostUnreachable, nil)
}
