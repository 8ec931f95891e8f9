package vm

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// stateMachine makes every change of a record: it checks the table, writes by
// compare-and-set and tells the watchers.
type stateMachine struct {
	store Store
	hub   *hub
}

func newStateMachine(store Store) *stateMachine {
	return &stateMachine{store: store, hub: newHub(store)}
}

// move brings inst to another state. change, if not nil, edits the new record first.
// A record that somebody else changed meanwhile is a *ConflictError.
func (s *stateMachine) move(ctx context.Context, inst Instance, to State, reason string, change func(*Instance)) (Instance, error) {
	if !inst.State.CanBecome(to) && !inst.returns(to) {
		return inst, &errors.TransitionError{VM: inst.Name, Op: "change to " + string(to), State: string(inst.State)}
	}
	next := inst
	next.State, next.Reason = to, reason
	if change != nil {
		change(&next)
	}
	return s.write(ctx, inst, next)
}

// amend changes a record without changing its state.
func (s *stateMachine) amend(ctx context.Context, inst Instance, change func(*Instance)) (Instance, error) {
	next := inst
	change(&next)
	return s.write(ctx, inst, next)
}

func (s *stateMachine) write(ctx context.Context, prev, next Instance) (Instance, error) {
	got, err := s.store.Update(ctx, next, prev.State, prev.Version)
	if err != nil {
		return prev, err
	}
	s.hub.changed(got)
	return got, nil
}

func (s *stateMachine) create(ctx context.Context, inst Instance) (Instance, error) {
	got, err := s.store.Create(ctx, inst)
	if err != nil {
		return Instance{}, err
	}
	s.hub.changed(got)
	return got, nil
}

func (s *stateMachine) remove(ctx context.Context, inst Instance) error {
	if err := s.store.Delete(ctx, inst.ID, inst.State, inst.Version); err != nil {
		return err
	}
	s.hub.removed(inst)
	return nil
}

func (s *stateMachine) watch(ctx context.Context, done func()) (<-chan Event, error) {
	return s.hub.watch(ctx, done)
}

func (s *stateMachine) wait() { s.hub.wg.Wait() }

// retry runs fn with the present record, again while somebody else changes it first.
func (s *stateMachine) retry(ctx context.Context, id string, fn func(Instance) error) error {
	for {
		inst, err := s.store.Get(ctx, id)
		if err != nil {
			return err
		}
		err = fn(inst)
		var conflict *ConflictError
		if !errors.As(err, &conflict) {
			return err
		}
	}
}
