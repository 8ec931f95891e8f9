package vm

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
)

// Reservation keeps others from working on a VM's images; see [Manager.Reserve]. Its methods
// are safe for concurrent use.
type Reservation struct {
	m    *Manager
	ctx  context.Context // of Reserve; ends with Close, too
	done context.CancelFunc
	op   *flock.Lock // of operations on images
	lock *flock.Lock // the VM's, where it is not live

	mu   sync.Mutex
	inst Instance
}

// Reserve waits until nobody else works on the VM's images, in any process, and keeps it so
// until the reservation is released. A VM that is not live can't be started or removed
// meanwhile; one that is live can still be stopped, and is then gone for the holder. A VM that
// is being started or stopped is waited for.
func (m *Manager) Reserve(ctx context.Context, ref string) (_ *Reservation, err error) {
	ctx, done, err := m.begin(ctx, "reserve VM")
	if err != nil {
		return nil, err
	}
	r := &Reservation{m: m, ctx: ctx, done: done}
	defer func() {
		if err != nil {
			r.release(errors.Is(err, errors.ErrVMNotFound))
		}
	}()
	if r.inst, err = m.store.Get(ctx, ref); err != nil {
		return nil, err
	}
	if r.op, err = flock.Wait(ctx, m.locks.images(r.inst.ID)); err != nil {
		return nil, errors.Wrap(errors.ErrDatabaseLock, "reserve VM", r.inst.Name, err)
	}
	for {
		settled, err := r.settle(ctx)
		if err != nil {
			return nil, err
		}
		if settled {
			return r, nil
		}
	}
}

// settle takes the VM's lock if it is not live, and reports whether the VM is in a state that
// can be worked with.
func (r *Reservation) settle(ctx context.Context) (bool, error) {
	inst, err := r.m.store.Get(ctx, r.inst.ID)
	if err == nil {
		inst, err = r.m.settle(ctx, inst)
	}
	if err != nil {
		return false, err
	}
	r.inst = inst
	if inst.unreachable() {
		return false, errUnreachable("reserve VM", inst)
	}
	switch inst.State {
	case Running, Paused:
		return true, nil
	case Starting, Stopping:
		inst, err = r.m.wait(ctx, inst.ID, []State{Created, Running, Paused, Stopped, Failed})
		r.inst = inst
		return false, err
	}
	if r.lock, err = r.m.locks.wait(ctx, inst.ID); err != nil {
		return false, errors.Wrap(errors.ErrDatabaseLock, "reserve VM", inst.Name, err)
	}
	r.inst, err = r.m.store.Get(ctx, inst.ID)
	if err == nil && !r.inst.held() {
		return true, nil
	}
	r.m.locks.leave(r.lock, errors.Is(err, errors.ErrVMNotFound)) // somebody was quicker
	r.lock = nil
	return false, err
}

// Context returns the context of Reserve, which also ends when the Manager is closed: Close
// waits until the reservation is released.
func (r *Reservation) Context() context.Context { return r.ctx }

// Instance returns the VM's record as it was when it was reserved, or last updated or
// refreshed through the reservation.
func (r *Reservation) Instance() Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inst.Clone()
}

// Update changes the VM's record, whatever others change of it meanwhile; its state can't be
// changed.
func (r *Reservation) Update(ctx context.Context, change func(*Instance)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m.states.retry(ctx, r.inst.ID, func(now Instance) error {
		got, err := r.m.states.amend(ctx, now, func(i *Instance) {
			state, reason := i.State, i.Reason
			change(i)
			i.State, i.Reason = state, reason
		})
		if err == nil {
			r.inst = got
		}
		return err
	})
}

// Refresh reads the VM's record again: its state can have changed if it was live. What QEMU has
// told this process until now, such as that the guest runs again, is in it.
func (r *Reservation) Refresh(ctx context.Context) (Instance, error) {
	if lg := r.m.live.cached(r.inst.ID); lg != nil {
		lg.catchUp(ctx)
	}
	inst, err := r.m.store.Get(ctx, r.inst.ID)
	if err != nil {
		return Instance{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inst = inst
	return inst.Clone(), nil
}

// Fence does what Reserve does with a VM that is not live, for one that has ended since: if it
// is not live any more, and nobody else starts it, it can't be started until the reservation
// is released. It reports whether that is so, and waits only for who is about to let go of it:
// a watcher that wanted to record the guest's end, too.
func (r *Reservation) Fence(ctx context.Context) (bool, error) {
	if r.fenced() {
		return true, nil
	}
	lock, err := r.m.locks.try(r.inst.ID)
	for errors.Is(err, flock.ErrHeld) {
		inst, getErr := r.Refresh(ctx)
		if getErr != nil || inst.held() {
			return false, getErr
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(claimPause): // a lock that becomes free is no event
		}
		lock, err = r.m.locks.try(r.inst.ID)
	}
	if err != nil {
		return false, errors.Wrap(errors.ErrDatabaseLock, "fence VM", r.inst.Name, err)
	}
	inst, err := r.Refresh(ctx)
	if err == nil && !inst.held() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lock = lock
		return true, nil
	}
	r.m.locks.leave(lock, errors.Is(err, errors.ErrVMNotFound))
	return false, err
}

// Unfence lets the VM be started again, while its images stay reserved: for a holder that
// starts it himself.
func (r *Reservation) Unfence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m.locks.leave(r.lock, false)
	r.lock = nil
}

func (r *Reservation) fenced() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lock != nil
}

// Release ends the reservation. It is idempotent.
func (r *Reservation) Release() { r.release(false) }

// release takes the lock files away if the VM is gone.
func (r *Reservation) release(gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m.locks.leave(r.lock, gone)
	r.m.locks.leave(r.op, gone)
	r.lock, r.op = nil, nil
	if r.done != nil {
		r.done()
		r.done = nil
	}
}

// forgetImages removes the lock of operations on the images of a VM that is gone. Who holds it
// goes on with what is there no more, and who waits for it finds the VM gone: IDs are not used
// again, so that nobody needs to be kept out.
func (l locks) forgetImages(id string) { _ = os.Remove(l.images(id)) }

// images is the lock of operations on a VM's images. It is taken before the VM's own.
func (l locks) images(id string) string { return filepath.Join(l.dir, id+".images.lock") }
