package vm

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// Migrator is a [Guest] that can move to another backend while it runs.
type Migrator interface {
	// Migrate moves the guest of inst to the backend to, and returns it there. It runs on
	// meanwhile. When Migrate fails, or ctx ends, it runs on where it was, and nothing of it is
	// left on the other side. A backend that it can't move to, or a guest that can't, such as
	// one that is Ephemeral, is errors.ErrInvalidConfiguration, before anything is done.
	//
	// After it succeeded the guest it was called of is done: its Done is closed.
	Migrate(ctx context.Context, inst Instance, to Backend) (Guest, error)
}

// Migrate moves a VM that runs, or is paused, to another backend, by the name that Config.Backend
// would have; its guest goes on meanwhile. The VM stays there: [Instance].Host says so, and later
// starts are there as long as anything of it lasts. When it fails the VM is what it was. One that
// is there already is no error; a backend whose guests can't move is
// errors.ErrInvalidConfiguration. Stop waits until the move is over: cancel ctx for one that is to
// come first.
func (m *Manager) Migrate(ctx context.Context, ref, backend string) (Instance, error) {
	ctx, done, err := m.begin(ctx, "migrate VM")
	if err != nil {
		return Instance{}, err
	}
	defer done()
	inst, err := m.store.Get(ctx, ref)
	if err != nil {
		return Instance{}, err
	}
	to, ok := m.backends[backend]
	if !ok {
		return inst, m.noBackend(inst.Name, backend)
	}
	r, err := m.Reserve(ctx, inst.ID)
	if err != nil {
		return inst, err
	}
	defer r.Release()
	if inst = r.Instance(); !inst.State.Live() {
		return inst, notRunning(inst) // and r holds its lock
	}
	lock, err := m.locks.wait(ctx, inst.ID)
	if err != nil {
		return inst, errors.Wrap(errors.ErrDatabaseLock, "migrate VM", inst.Name, err)
	}
	defer m.locks.leave(lock, false)
	inst, err = m.migrate(ctx, inst, backend, to)
	if err != nil {
		return inst, errors.Wrap(errors.ErrVMLifecycle, "migrate VM to "+backend, inst.Name, err)
	}
	return inst, nil
}

// migrate moves the guest of a VM whose lock is held.
func (m *Manager) migrate(ctx context.Context, inst Instance, backend string, to Backend) (Instance, error) {
	lg, err := m.live.get(ctx, inst.ID)
	if err != nil {
		return inst, err
	}
	if inst, err = m.store.Get(ctx, inst.ID); err != nil || m.on(inst) == backend {
		return inst, err
	}
	switch { // since it was reserved
	case inst.unreachable():
		return inst, errUnreachable("migrate VM", inst)
	case inst.State != Running && inst.State != Paused:
		return inst, notRunning(inst)
	}
	guest, ok := lg.guest.(Migrator)
	if !ok {
		return inst, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "migrate VM", VM: inst.Name,
			Msg: "its backend, " + m.on(inst) + ", can't move guests that run"}
	}
	limits := to.Timeouts(ctx, inst.Config)
	moved, err := guest.Migrate(ctx, inst, to)
	if err != nil {
		return inst, err
	}
	next := m.live.add(inst, moved, limits)
	next.setUp()
	// It is there now, whatever becomes of ctx.
	ctx = context.WithoutCancel(ctx)
	err = m.states.retry(ctx, inst.ID, func(now Instance) error {
		inst, err = m.states.amend(ctx, now, func(i *Instance) {
			rt := moved.Runtime()
			rt.NVRAM, rt.Seed = i.Runtime.NVRAM, i.Runtime.Seed
			i.Host, i.Runtime = backend, rt
			if i.Config.backendName() == backend {
				i.Host = ""
			}
		})
		return err
	})
	if err != nil {
		return inst, err
	}
	lg.recorded() // what ends now is no end of the VM
	return m.adopt(ctx, next)
}

// on returns the name of the backend that a VM is on.
func (*Manager) on(inst Instance) string {
	if inst.Host != "" {
		return inst.Host
	}
	return inst.Config.backendName()
}
