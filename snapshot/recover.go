package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Recover implements vm.Snapshots: it finishes or undoes what operations that died have left
// in the images of a reserved VM that is not live.
func (k *Keeper) Recover(ctx context.Context, r *vm.Reservation) error {
	records, err := k.records.Snapshots(ctx, r.Instance().ID)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if rec.Pending == "" {
			continue
		}
		k.log.InfoContext(ctx, "interrupted snapshot operation is mended", "vm", r.Instance().Name,
			"snapshot", rec.Name, "operation", rec.Pending)
		switch {
		case rec.Pending == Capturing:
			err = k.recoverCapturing(ctx, r, &rec)
		case rec.Kind == External:
			err = k.recoverExternal(ctx, r, &rec)
		default:
			err = k.recoverInternal(ctx, r, &rec)
		}
		if err != nil {
			return errors.Wrap(errors.ErrSnapshot, "mend snapshot "+rec.Name, r.Instance().Name, err)
		}
	}
	if r.Instance().Unclean {
		return k.tighten(ctx, r)
	}
	return nil
}

// tighten frees what a QEMU that was killed has leaked in the images that it wrote. What leaks
// is space and nothing else, so that an image that can't be looked at is in nobody's way.
func (k *Keeper) tighten(ctx context.Context, r *vm.Reservation) error {
	inst := r.Instance()
	written := map[string]string{vmstateDisk(r).Path: ""} // disk by path
	for _, img := range r.Images() {
		if img.Path != "" && img.Format == vm.FormatQcow2 && !img.ReadOnly && !img.Ephemeral {
			written[img.Path] = img.Name
		}
	}
	for path, disk := range written {
		err := unlessMissing(k.images.Repair(ctx, path, keysOf(inst, disk)...))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			k.log.WarnContext(ctx, "image not checked after its QEMU was killed", "vm", inst.Name, "path", path, "error", err)
		}
	}
	return r.Update(ctx, func(i *vm.Instance) { i.Unclean = false })
}

// recoverLive is Recover for a live VM.
func (op *operation) recoverLive(ctx context.Context) error {
	inst := op.r.Instance()
	op.inst = inst
	records, err := op.keeper.records.Snapshots(ctx, inst.ID)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if rec.Pending == "" {
			continue
		}
		op.log.InfoContext(ctx, "interrupted snapshot operation is mended", "vm", inst.Name,
			"snapshot", rec.Name, "operation", rec.Pending)
		if rec.Kind == External {
			err = op.recoverExternal(ctx, &rec)
		} else {
			err = op.recoverMemory(ctx, &rec)
		}
		if err != nil {
			return errors.Wrap(errors.ErrSnapshot, "mend snapshot "+rec.Name, inst.Name, err)
		}
	}
	return nil
}
