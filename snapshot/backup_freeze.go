package snapshot

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// lateFreeze is after which time an agent that did not freeze the guest may be about to: one
// that can't says so at once.
const lateFreeze = time.Second

// quiesced calls fn while the guest's file systems are frozen, if that is possible or asked
// for, and reports whether they were. They are thawed whatever happens.
func (op *operation) quiesced(ctx context.Context, fn func() error) (frozen bool, err error) {
	if op.freeze == freezeNever || op.freeze == freezeIfPossible && (op.freezer == nil || op.inst.State != vm.Running) {
		return false, fn()
	}
	if op.freezer == nil || op.inst.State != vm.Running {
		return false, &errors.Error{Kind: errors.ErrAgentUnavailable, Op: "freeze file systems", VM: op.inst.Name,
			Msg: "the guest does not run", Hint: "start it, or leave MustFreeze out"}
	}
	defer func() {
		if !frozen {
			return
		}
		err = errors.Join(err, op.thaw(ctx))
	}()
	op.tell(Progress{Step: "freeze"})
	op.keeper.step(ctx, "freeze")
	begun := time.Now()
	_, failed := op.freezer.Freeze(ctx, op.inst.ID)
	if frozen = failed == nil; frozen {
		return true, fn()
	}
	if time.Since(begun) > lateFreeze || ctx.Err() != nil {
		op.log.DebugContext(ctx, "an agent that was late is told to thaw", "vm", op.inst.Name, "error", op.thaw(ctx))
	}
	if op.freeze == freezeAlways || ctx.Err() != nil {
		return false, failed
	}
	op.log.DebugContext(ctx, "the guest's file systems are not frozen", "vm", op.inst.Name, "error", failed)
	return false, fn()
}
