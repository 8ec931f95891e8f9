package snapshot

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

const (
	// thawLimit is how long a guest may take to thaw.
	thawLimit = 30 * time.Second
	// lateFreeze is after which time an agent that did not freeze the guest may be about to: one
	// that can't says so at once.
	lateFreeze = time.Second
)

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
		err = errors.Join(err, op.thawed(ctx))
	}()
	begun := time.Now()
	_, failed := op.freezer.Freeze(ctx, op.inst.ID)
	if frozen = failed == nil; frozen {
		return true, fn()
	}
	if time.Since(begun) > lateFreeze || ctx.Err() != nil {
		op.log.DebugContext(ctx, "an agent that was late is told to thaw", "vm", op.inst.Name, "error", op.thawed(ctx))
	}
	if op.freeze == freezeAlways || ctx.Err() != nil {
		return false, failed
	}
	op.log.DebugContext(ctx, "the guest's file systems are not frozen", "vm", op.inst.Name, "error", failed)
	return false, fn()
}

// thawed thaws the guest's file systems, also when ctx has ended. A guest that is gone is not frozen.
func (op *operation) thawed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thawLimit)
	defer cancel()
	err := op.freezer.Thaw(ctx, op.inst.ID)
	if errors.Is(err, errors.ErrVMNotRunning) || errors.Is(err, errors.ErrVMNotFound) {
		return nil
	}
	return err
}
