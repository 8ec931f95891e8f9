package snapshot

import (
	"context"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// Load brings a VM back to what it was when the snapshot was made. What was written since is
// given up, unless another snapshot has it.
//
// A live VM's guest goes on from the memory of a snapshot that has one, on the same QEMU; for
// the disks of another snapshot, and with [ColdBoot], it is ended without being asked, and
// boots from them. A VM that is not live stays so, and its next start continues from the memory,
// unless vm.ColdBoot or [ColdBoot] says otherwise. See [ThenRun] and [ThenPause].
//
// Where the backend is a vm.Snapshotter, the guest of a live VM is ended in any case, and a new
// one continues from the memory; an external snapshot of such a VM may not be one to load.
//
// Errors: errors.ErrSnapshotNotFound; errors.ErrSnapshotBlocked, a [*BlockedError] that names all
// that stands in the way, before anything is done (see [Coordinator.LoadBlockers]); what
// vm.Manager says of ref; else errors.ErrSnapshot. When it fails, or ctx ends, the disks are
// as they were, or as they should be: then a guest that was to be started is not. When QEMU
// itself fails to load memory its guest is ended, its disks are loaded, and the VM is Failed.
func (c *Coordinator) Load(ctx context.Context, ref, name string, opts ...Option) error {
	ctx, op, err := c.begin(ctx, onLoad, "load snapshot "+strconv.Quote(name), ref, opts)
	if err != nil {
		return err
	}
	_, err = work(ctx, op, func(ctx context.Context) (struct{}, error) { return struct{}{}, op.load(ctx, name) })
	return err
}

func (op *operation) load(ctx context.Context, name string) error {
	if op.backend != nil {
		return op.loadByBackend(ctx, name)
	}
	rec, err := op.find(name)
	if err != nil {
		return err
	}
	if err := op.buried(rec); err != nil {
		return err
	}
	if err := op.unblocked(ctx, rec); err != nil {
		return err
	}
	switch {
	case rec.Kind == External:
		err = op.loadExternal(ctx, rec)
	case op.live():
		err = op.loadMemory(ctx, rec)
	default:
		err = op.loadOffline(ctx, rec)
	}
	return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
}
