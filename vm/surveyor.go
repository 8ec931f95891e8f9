package vm

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// Surveyor is a [Backend] whose persistent guests others can start as well, by means of their
// own.
type Surveyor interface {
	// Runs reports whether a guest of inst runs, which is recorded as one that does not.
	Runs(ctx context.Context, inst Instance) (bool, error)
}

// discover adopts the guest of a VM that is recorded as stopped if others have started it. It
// returns the record as it is then. Where the backend can't be asked the record stays.
func (m *Manager) discover(ctx context.Context, inst Instance) (Instance, error) {
	if inst.State == Created || inst.Config.lifetime() == Ephemeral {
		return inst, nil
	}
	surveyor, ok := m.backends[m.on(inst)].(Surveyor)
	if !ok {
		return inst, nil
	}
	runs, err := surveyor.Runs(ctx, inst)
	if !runs || err != nil {
		if err != nil {
			m.log.DebugContext(ctx, "not known whether the VM runs", "vm", inst.Name, "error", err)
		}
		return inst, nil
	}
	// An operation that has recorded the end of the last run lets go of the lock soon; any other
	// works on the VM.
	waiting, cancel := context.WithTimeout(ctx, heirTime)
	defer cancel()
	lock, err := m.locks.wait(waiting, inst.ID)
	switch {
	case waiting.Err() != nil && err != nil:
		return inst, ctx.Err()
	case err != nil:
		return inst, errors.Wrap(errors.ErrDatabaseLock, "lock VM", inst.Name, err)
	}
	inst, err = m.store.Get(ctx, inst.ID)
	defer func() { m.locks.leave(lock, errors.Is(err, errors.ErrVMNotFound)) }()
	if err != nil || inst.held() {
		return inst, err
	}
	inst.Run = inst.Version // recorded with the state
	lg, err := m.live.connect(ctx, inst)
	if errors.Is(err, errors.ErrVMNotRunning) { // no more
		return inst, nil
	}
	if err != nil {
		return inst, err
	}
	return m.adopt(ctx, lg)
}
