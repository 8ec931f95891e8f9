package snapshot

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// thawLimit is how long a guest may take to thaw.
const thawLimit = 30 * time.Second

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
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thawLimit)
		defer cancel()
		err = errors.Join(err, op.freezer.Thaw(ctx, op.inst.ID))
	}()
	_, failed := op.freezer.Freeze(ctx, op.inst.ID)
	if failed == nil {
		frozen = true
		return true, fn()
	}
	if op.freeze == freezeAlways || ctx.Err() != nil {
		return false, failed
	}
	op.log.DebugContext(ctx, "the guest's file systems are not frozen", "vm", op.inst.Name, "error", failed)
	return false, fn()
}
