package qmp

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// forget removes the device of a VM that does not run, as cause says, from its record:
// else one that can't be made any more would keep the VM from starting. Any other cause
// is returned as it is.
func (r removal) forget(ctx context.Context, cause error) error {
	rec := r.m.hotplug.recorder
	if rec == nil || !errors.Is(cause, errors.ErrVMNotRunning) {
		return cause
	}
	known, err := rec.ForgetDevice(ctx, r.ref, r.id)
	switch {
	case err != nil:
		return r.refusal(errors.ErrVMNotRunning, "its record was not changed", "", errors.Join(cause, err))
	case !known:
		return r.refusal(errors.ErrVMNotRunning, "its record has no such device", "", cause)
	}
	return nil
}
