package vm

import (
	"context"
	"encoding/json"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/qmp"
)

func (m *Manager) reconcile(ctx context.Context) ([]Instance, error) {
	list, err := m.store.List(ctx, Filter{})
	if err != nil {
		return nil, err
	}
	var changed []Instance
	var errs []error
	for _, inst := range list {
		now, buried, err := inst, false, error(nil)
		if m.orphaned(inst) {
			now, buried, err = m.bury(ctx, inst)
		} else {
			now, err = m.settle(ctx, inst)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if buried || now.Version != inst.Version {
			changed = append(changed, now)
		}
	}
	return changed, errors.Join(errs...)
}

// settle makes the record of a live VM true: a guest that is gone gets its end
// recorded; one whose operation died half-way is adopted or ended. It returns the
// record as it is then. A VM that somebody works on is left alone.
func (m *Manager) settle(ctx context.Context, inst Instance) (Instance, error) {
	if !inst.held() {
		return m.discover(ctx, inst)
	}
	if lg := m.live.cached(inst.ID); lg != nil {
		if inst.unreachable() {
			now, err := lg.heal(ctx)
			if err != nil && ctx.Err() == nil {
				m.log.DebugContext(ctx, "VM is still out of reach", "vm", inst.Name, "error", err)
				return m.store.Get(ctx, inst.ID)
			}
			return now, err
		}
		return inst, nil
	}
	lock, err := m.claim(ctx, inst)
	if errors.Is(err, flock.ErrHeld) {
		return inst, nil
	}
	if err != nil {
		return inst, errors.Wrap(errors.ErrDatabaseLock, "lock VM", inst.Name, err)
	}
	inst, err = m.store.Get(ctx, inst.ID)
	gone := errors.Is(err, errors.ErrVMNotFound)
	defer func() { m.locks.leave(lock, gone) }()
	if err != nil || !inst.held() {
		return inst, err
	}
	if lg := m.live.entry(inst.ID); lg != nil { // gone, and about to be recorded by its watcher
		to, reason := lg.epitaph()
		return m.destroyer.finalise(ctx, inst, ending{to: to, reason: reason, exit: lg.guest.Exit()})
	}
	lg, err := m.live.connect(ctx, inst)
	switch {
	case errors.Is(err, errors.ErrVMNotRunning):
		to, reason := m.obituary(inst)
		return m.destroyer.finalise(ctx, inst, ending{to: to, reason: reason})
	case errors.Is(err, errors.ErrHostUnreachable):
		return m.loseTouch(ctx, inst)
	case err != nil:
		return inst, err
	}
	return m.adopt(ctx, lg)
}

// heirTime bounds the wait for a lock whose owner is dead. A child between fork and exec
// has the files of its parent, and with them its locks, for some milliseconds.
const heirTime = time.Second

// claim takes the lock of a VM, or fails with flock.ErrHeld when somebody works on it.
func (m *Manager) claim(ctx context.Context, inst Instance) (*flock.Lock, error) {
	lock, err := m.locks.try(inst.ID)
	ownerDied := inst.Owner.PID != 0 && inst.Owner != m.self && !proc.Alive(proc.ID(inst.Owner))
	if !errors.Is(err, flock.ErrHeld) || !ownerDied || (inst.State != Starting && !m.orphaned(inst)) {
		return lock, err
	}
	ctx, cancel := context.WithTimeout(ctx, heirTime)
	defer cancel()
	if lock, err = m.locks.wait(ctx, inst.ID); err != nil && ctx.Err() != nil {
		err = flock.ErrHeld
	}
	return lock, err
}

// obituary says why a guest that nobody saw going is gone.
func (m *Manager) obituary(inst Instance) (State, string) {
	owner := proc.ID(inst.Owner)
	switch {
	case inst.Owner.PID != 0 && inst.Owner.BootID != m.self.BootID:
		return Failed, ReasonHostRebooted
	case inst.State == Stopping:
		return Stopped, ReasonStopped
	case inst.Owner.PID != 0 && !proc.Alive(owner) && (inst.Config.lifetime() == Ephemeral || inst.State == Starting):
		return Failed, ReasonOwnerDied
	default:
		return Failed, ReasonVanished
	}
}

// adopt brings the record of a guest that runs into agreement with it. One that was
// being started or stopped when its process died goes on running: it is whole, and
// whoever asks for it now wants it.
func (m *Manager) adopt(ctx context.Context, lg *liveGuest) (Instance, error) {
	var inst Instance
	err := m.states.retry(ctx, lg.id, func(now Instance) (err error) {
		inst, err = m.agree(ctx, lg, now)
		return err
	})
	return inst, err
}

// agree is adopt of the record as it is now.
func (m *Manager) agree(ctx context.Context, lg *liveGuest, now Instance) (Instance, error) {
	want, err := m.observe(ctx, lg, now)
	if err != nil || want == now.State {
		return now, err
	}
	reason := ReasonAdopted
	if now.unreachable() {
		reason = ReasonHostReturned
	}
	return m.states.move(ctx, now, want, reason, func(i *Instance) { i.Run, i.Runtime = lg.run, lg.guest.Runtime() })
}

// observe asks QEMU for its state, and lets a guest go on that was left halted before
// its first instruction.
func (m *Manager) observe(ctx context.Context, lg *liveGuest, inst Instance) (State, error) {
	status, err := queryStatus(ctx, lg.guest.QMP())
	if err != nil {
		return inst.State, err
	}
	if inst.State == Starting && !status.Running {
		if err := lg.guest.Continue(ctx); err != nil {
			return inst.State, err
		}
		return Running, nil
	}
	if status.Running {
		return Running, nil
	}
	return Paused, nil
}

// statusInfo is QEMU's answer to query-status.
type statusInfo struct {
	Status  string `json:"status"`
	Running bool   `json:"running"`
}

func queryStatus(ctx context.Context, conn qmp.Conn) (statusInfo, error) {
	var info statusInfo
	raw, err := conn.Execute(ctx, "query-status", nil)
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(raw, &info)
}

// bury removes an ephemeral VM whose process is gone, and kills its guest should that
// not be gone yet. It reports whether the VM is removed, with its last record.
func (m *Manager) bury(ctx context.Context, inst Instance) (_ Instance, gone bool, _ error) {
	lock, err := m.claim(ctx, inst)
	if err != nil {
		return inst, false, nil // somebody works on it
	}
	defer func() { m.locks.leave(lock, gone) }()
	now, err := m.store.Get(ctx, inst.ID)
	switch {
	case errors.Is(err, errors.ErrVMNotFound):
		return inst, true, nil
	case err != nil || !m.orphaned(now):
		return inst, false, err
	}
	if _, err = m.destroyer.stopLocked(ctx, now, stopOptions{force: true}); err != nil {
		return now, false, err
	}
	if now, err = m.store.Get(ctx, inst.ID); err != nil {
		return now, false, err
	}
	err = m.destroyer.removeLocked(ctx, now, removeOptions{deleteImages: true})
	return now, err == nil, err
}
