package vm

import (
	"context"
	"slices"
	"sync"

	"github.com/maqet/maqet/errors"
)

// waiting is one call of Wait.
type waiting struct {
	m       *Manager
	states  []State
	inst    Instance // as last seen
	changes <-chan struct{}
	asked   int64 // version of the record for which its lock was seen free
}

func (m *Manager) wait(ctx context.Context, ref string, states []State) (Instance, error) {
	inst, err := m.store.Get(ctx, ref)
	if err != nil {
		return Instance{}, err
	}
	w := &waiting{m: m, states: states, inst: inst}
	if w.changes, err = m.store.Changes(ctx); err == nil {
		err = w.run(ctx)
	}
	if err != nil && ctx.Err() != nil { // whatever it was that noticed
		err = &errors.Error{Kind: errors.ErrWaitTimeout, Op: "wait for VM", VM: w.inst.Name,
			Msg: "it is " + string(w.inst.State), Err: context.Cause(ctx)}
	}
	return w.inst, err
}

func (w *waiting) run(ctx context.Context) error {
	for {
		inst, err := w.m.look(ctx, w.inst.ID)
		if err != nil {
			return err
		}
		w.inst = inst
		if reached(inst.State, w.states) {
			return nil
		}
		if err := w.change(ctx); err != nil {
			return err
		}
	}
}

// change returns when something may have changed.
func (w *waiting) change(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var freed chan struct{}
	if inst := w.inst; (inst.State == Starting || inst.State == Stopping) && inst.Version != w.asked {
		// Who starts or stops it holds its lock. A process that dies lets go of the lock, and
		// tells the store nothing.
		freed = make(chan struct{})
		wg.Go(func() {
			if lock, err := w.m.locks.wait(ctx, inst.ID); err == nil {
				_ = lock.Unlock()
				close(freed)
			}
		})
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-freed:
		w.asked = w.inst.Version
		_, err := w.m.settle(ctx, w.inst)
		return err
	case _, ok := <-w.changes:
		if !ok {
			return &errors.Error{Kind: errors.ErrDatabase, Op: "wait for VM", VM: w.inst.Name, Msg: "the store was closed"}
		}
		return nil
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
