package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// createInternal makes a snapshot on all disks of a VM that is not live, or on none.
func (k *Keeper) createInternal(ctx context.Context, r *vm.Reservation, rec *Record) (err error) {
	rec.Disks, err = k.writtenDisks(ctx, r, "create snapshot "+rec.Name, rec.Name)
	if err != nil {
		return err
	}
	err = k.begin(ctx, rec, Creating, nil)
	if err == nil {
		err = k.createOn(ctx, r, rec)
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, k.undo(ctx, rec, func(ctx context.Context) error { return k.undoCreate(ctx, r, rec) }))
}

// undo undoes an operation that failed, also when that is because ctx has ended.
func (k *Keeper) undo(ctx context.Context, rec *Record, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	err := fn(ctx)
	if err != nil {
		k.log.WarnContext(ctx, "failed snapshot operation not undone in full; the next operation does it",
			"snapshot", rec.Name, "operation", rec.Pending, "error", err)
	}
	return err
}

// createOn copies what the VM remembers besides its disks first: what is on all disks is whole.
func (k *Keeper) createOn(ctx context.Context, r *vm.Reservation, rec *Record) error {
	k.step(ctx, "creating: copy state")
	if err := copiesOf(r).save(ctx, rec.ID); err != nil {
		return err
	}
	for _, d := range rec.Disks {
		k.step(ctx, "creating: disk "+d.Name)
		if err := k.images.CreateSnapshot(ctx, d.Path, rec.Name, keysOf(r.Instance(), d.Name)...); err != nil {
			return err
		}
	}
	return k.finishCreate(ctx, r, rec)
}

// finishCreate records a snapshot that is on all disks.
func (k *Keeper) finishCreate(ctx context.Context, r *vm.Reservation, rec *Record) error {
	k.step(ctx, "creating: stand on it")
	if err := r.Update(ctx, func(i *vm.Instance) { i.Snapshot = rec.Name }); err != nil {
		return err
	}
	return k.end(ctx, rec)
}

// undoCreate deletes what is there of a snapshot that is not whole.
func (k *Keeper) undoCreate(ctx context.Context, r *vm.Reservation, rec *Record) error {
	err := k.purge(ctx, r, "creating: undo disk ", rec)
	if err == nil {
		err = copiesOf(r).drop(rec.ID)
	}
	if err == nil && r.Instance().Snapshot == rec.Name {
		k.step(ctx, "creating: stand on parent")
		err = r.Update(ctx, func(i *vm.Instance) { i.Snapshot = rec.Parent })
	}
	if err != nil {
		return err
	}
	return k.drop(ctx, rec)
}

// mend repairs the images of a snapshot after an operation that was interrupted.
func (k *Keeper) mend(ctx context.Context, r *vm.Reservation, rec *Record) (err error) {
	for _, d := range rec.Disks {
		k.step(ctx, string(rec.Pending)+": repair disk "+d.Name)
		err = errors.Join(err, unlessMissing(k.images.Repair(ctx, d.Path, keysOf(r.Instance(), d.Name)...)))
	}
	return err
}

// purge deletes a snapshot after an operation that was interrupted from all images that hold it.
// They are repaired once more afterwards: where an image has gaps, QEMU 7.2 leaks a cluster of
// its own accord.
func (k *Keeper) purge(ctx context.Context, r *vm.Reservation, step string, rec *Record) error {
	err := k.mend(ctx, r, rec)
	for _, d := range rec.Disks {
		err = errors.Join(err, k.deleteFrom(ctx, r, step, d, rec.Name))
	}
	return errors.Join(err, k.mend(ctx, r, rec))
}

// deleteFrom deletes a snapshot from the image of a disk, if it is there.
func (k *Keeper) deleteFrom(ctx context.Context, r *vm.Reservation, step string, d RecordDisk, name string) error {
	_, there, err := k.held(ctx, d.Path, name)
	if err != nil || !there {
		return err
	}
	k.step(ctx, step+d.Name)
	return k.images.DeleteSnapshot(ctx, d.Path, name, keysOf(r.Instance(), d.Name)...)
}

// deleteInternal deletes an internal snapshot, with or without memory, of a VM that is not
// live. One that fails, or that ctx ends, once it has begun is finished by the next operation
// on the VM.
func (k *Keeper) deleteInternal(ctx context.Context, r *vm.Reservation, rec *Record) error {
	for _, d := range rec.Disks {
		_, err := k.images.Usable(ctx, d.Path, d.Format, true, keysOf(r.Instance(), d.Name)...)
		if err = unlessMissing(err); err != nil {
			return err
		}
	}
	if err := k.begin(ctx, rec, Deleting, nil); err != nil {
		return err
	}
	return k.finishDelete(ctx, r, rec)
}

func (k *Keeper) finishDelete(ctx context.Context, r *vm.Reservation, rec *Record) error {
	for _, d := range rec.Disks {
		if err := k.deleteFrom(ctx, r, "deleting: disk ", d, rec.Name); err != nil {
			return err
		}
	}
	k.step(ctx, "deleting: copy of state")
	if err := copiesOf(r).drop(rec.ID); err != nil {
		return err
	}
	k.step(ctx, "deleting: children")
	if err := k.reparent(ctx, r, rec); err != nil {
		return err
	}
	return k.drop(ctx, rec)
}
