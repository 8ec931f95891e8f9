package snapshot

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// freezable is how long a guest's file systems may be frozen: a transaction takes milliseconds,
// and a guest whose programs can't write is a guest that stands still.
const freezable = 30 * time.Second

// lateFreeze is after which time an agent that did not freeze the guest may be about to: one
// that can't says so at once.
const lateFreeze = time.Second

// whileFrozen calls fn while the guest's file systems are frozen, as far as that is possible
// and was asked for, and reports whether they were. They are thawed whatever happens, also
// when a callback panics; what our own death leaves frozen is thawed by the next operation on
// the VM, or by guest.Manager.Thaw.
func (op *operation) whileFrozen(ctx context.Context, fn func(ctx context.Context) error) (frozen bool, err error) {
	if op.freeze == freezeNever {
		return false, fn(ctx)
	}
	if op.freezer == nil || op.inst.State != vm.Running {
		if op.freeze == freezeAlways {
			return false, &errors.Error{Kind: errors.ErrAgentUnavailable, Op: "freeze file systems", VM: op.inst.Name,
				Msg: "the guest does not run", Hint: "start it, or leave MustFreeze out"}
		}
		return false, fn(ctx)
	}
	op.tell(Progress{Step: "freeze"})
	op.keeper.step(ctx, "freeze")
	maybe := true // unless it is certain that nothing is frozen
	defer func() {
		if maybe {
			err = errors.Join(err, op.thaw(ctx))
		}
	}()
	begun := time.Now()
	count, failed := op.freezer.Freeze(ctx, op.inst.ID)
	if failed == nil {
		op.log.DebugContext(ctx, "guest is frozen", "vm", op.inst.Name, "filesystems", count)
		limited, cancel := context.WithTimeout(ctx, freezable)
		defer cancel()
		return true, fn(limited)
	}
	maybe = false
	if time.Since(begun) > lateFreeze || ctx.Err() != nil {
		op.log.DebugContext(ctx, "an agent that was late is told to thaw", "vm", op.inst.Name, "error", op.thaw(ctx))
	}
	if op.freeze == freezeAlways || ctx.Err() != nil {
		return false, failed
	}
	op.log.InfoContext(ctx, "the guest's file systems are not frozen", "vm", op.inst.Name, "reason", failed)
	return false, fn(ctx)
}

// thaw thaws the guest's file systems, also when ctx has ended. A guest that is gone is not
// frozen.
func (op *operation) thaw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freezable)
	defer cancel()
	op.keeper.step(ctx, "thaw")
	err := op.freezer.Thaw(ctx, op.inst.ID)
	if errors.Is(err, errors.ErrVMNotRunning) || errors.Is(err, errors.ErrVMNotFound) {
		return nil
	}
	return err
}
