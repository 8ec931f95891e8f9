package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// loadByBackend loads a snapshot that the backend keeps. The guest of a live VM is ended, and
// another one continues from the memory, or boots from the disks.
func (op *operation) loadByBackend(ctx context.Context, name string) error {
	spec := op.spec(name, op.inst)
	if err := op.allowed(ctx, vm.LoadingSnapshot, spec); err != nil {
		return err
	}
	list, err := op.backend.ListSnapshots(ctx, op.inst)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
	}
	restore := ""
	for _, s := range list {
		if s.Name == name && s.Memory && !op.cold {
			restore = name
		}
	}
	if op.live() {
		if err := op.powerOff(ctx); err != nil {
			return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
		}
	}
	longer, cancel := op.keeper.outlive(ctx) // what is begun is not given up any more
	defer cancel()
	return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, op.bring(longer, name, restore))
}

// bring brings a VM that is not live to a snapshot, and starts it if that is asked for. The start
// loads the disks with the memory; should it fail, they are loaded all the same.
func (op *operation) bring(ctx context.Context, name, restore string) error {
	start := op.startAfter()
	if start == nil || restore == "" {
		if err := op.loadDisks(ctx, name); err != nil {
			return err
		}
	}
	if err := op.r.Update(ctx, func(i *vm.Instance) { i.Snapshot, i.Restore = name, restore }); err != nil {
		return err
	}
	if start == nil {
		return nil
	}
	op.keeper.step(ctx, "loading: start")
	op.r.Unfence()
	_, err := op.vms.Start(ctx, op.inst.ID, start...)
	if err == nil || restore == "" {
		return err
	}
	if fenced, fenceErr := op.r.Fence(ctx); fenceErr != nil || !fenced {
		return errors.Join(err, fenceErr)
	}
	return errors.Join(err, op.loadDisks(ctx, name))
}

func (op *operation) loadDisks(ctx context.Context, name string) error {
	op.keeper.step(ctx, "loading: by backend")
	if err := op.backend.LoadSnapshot(ctx, op.inst, name); err != nil {
		return err
	}
	return op.r.TakeLayers(ctx, op.backend)
}
