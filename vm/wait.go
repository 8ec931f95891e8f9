package vm

import (
	"context"
	"slices"

	"github.com/maqet/maqet/errors"
)

func (m *Manager) wait(ctx context.Context, ref string, states []State) (Instance, error) {
	inst, err := m.store.Get(ctx, ref)
	if err != nil {
		return Instance{}, err
	}
	changes, err := m.store.Changes(ctx)
	if err != nil {
		return inst, err
	}
	for {
		if inst, err = m.look(ctx, inst.ID); err != nil {
			return inst, err
		}
		if reached(inst.State, states) {
			return inst, nil
		}
		select {
		case <-ctx.Done():
			return inst, &errors.Error{Kind: errors.ErrWaitTimeout, Op: "wait for VM", VM: inst.Name,
				Msg: "it is " + string(inst.State), Err: context.Cause(ctx)}
		case _, ok := <-changes:
			if !ok && ctx.Err() == nil {
				return inst, &errors.Error{Kind: errors.ErrDatabase, Op: "wait for VM", VM: inst.Name, Msg: "the store was closed"}
			}
		}
	}
}

// look returns the present record, and makes sure that somebody in this process
// watches a guest that runs, so that its end is noticed.
func (m *Manager) look(ctx context.Context, id string) (Instance, error) {
	inst, err := m.store.Get(ctx, id)
	if err != nil || (inst.State != Running && inst.State != Paused) || m.live.cached(id) != nil {
		return inst, err
	}
	if _, err := m.live.get(ctx, id); err == nil || ctx.Err() != nil {
		return inst, nil
	}
	return m.store.Get(ctx, id)
}

func reached(s State, states []State) bool {
	if len(states) == 0 {
		return !s.Live()
	}
	return slices.Contains(states, s)
}
