package snapshot

import (
	"context"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// goneLimit is how long the end of a guest whose connection broke may take to be recorded.
const goneLimit = 30 * time.Second

// mendNow finishes or undoes an operation that failed or was given up, whether its guest still
// lives or has ended since. What can't be done now is for whoever comes next.
func (op *operation) mendNow(ctx context.Context, rec *Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if _, err := op.vms.Live(ctx, op.inst.ID); err == nil {
		if err = op.recoverExternal(ctx, rec); !isGone(err) {
			return err
		}
	}
	fenced, err := op.ended(ctx)
	if err != nil || !fenced {
		return err // who starts it recovers first
	}
	return op.keeper.recoverExternal(ctx, op.r, rec)
}

// isGone reports whether an error may be the end of the guest.
func isGone(err error) bool {
	return errors.Is(err, errors.ErrQMPConnection) || errors.Is(err, errors.ErrVMNotRunning)
}

// ended waits until the end of a guest that is going is recorded, and keeps others from starting
// the VM. It reports whether it does.
func (op *operation) ended(ctx context.Context) (bool, error) {
	waiting, stop := context.WithTimeout(ctx, goneLimit)
	defer stop()
	if _, err := op.vms.Wait(waiting, op.inst.ID); err != nil {
		return false, err
	}
	return op.r.Fence(ctx)
}

// recoverExternal finishes or undoes an operation on an external snapshot, of a live VM.
func (op *operation) recoverExternal(ctx context.Context, rec *Record) error {
	undo, err := rec.externalUndo()
	if err != nil {
		return err
	}
	guest, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return err
	}
	conn := guest.QMP()
	if err := op.endJobs(ctx, conn, rec); err != nil {
		return err
	}
	if err := op.unhalt(ctx, conn, rec, undo); err != nil {
		return err
	}
	undo.Halted = false
	switch rec.Pending {
	case Creating:
		return op.recoverCreating(ctx, conn, rec, undo)
	case Loading: // the guest was not ended
		return op.keeper.stayed(ctx, rec, undo)
	case Committing:
		if err := op.mergeAll(ctx, rec, undo); err != nil {
			op.unfinished(ctx, rec, err)
		}
		return nil
	}
	if undo.Forget {
		for _, d := range rec.Disks {
			if err := op.dropNodes(ctx, conn, d.Name, undo.Discard); err != nil {
				return err
			}
		}
	}
	return op.keeper.streamed(ctx, op.r, rec, undo)
}

// unfinished tells of a commit that can't be finished now. The VM is as it was, so that nothing
// else need wait for it.
func (op *operation) unfinished(ctx context.Context, rec *Record, err error) {
	op.log.WarnContext(ctx, "interrupted commit is not finished", "vm", op.inst.Name, "snapshot", rec.Name, "error", err)
}

// endJobs cancels the jobs that somebody who died has left, and waits until they have ended.
func (op *operation) endJobs(ctx context.Context, conn qmp.Conn, rec *Record) error {
	running, err := left(ctx, conn, rec, "")
	if err != nil || len(running) == 0 {
		return err
	}
	var ids []string
	for _, job := range running {
		ids = append(ids, job.ID)
		if job.Status == qapi.JobStatusConcluded {
			continue
		}
		if err := unlessRefused(qapi.JobCancel(ctx, conn, job.ID)); err != nil { // it has just ended
			return err
		}
	}
	err = jobs{conn: conn, ids: ids}.follow(ctx)
	if ctx.Err() != nil || errors.Is(err, errors.ErrQMPConnection) {
		return err
	}
	return nil // how they ended shows in the graph
}

// recoverCreating finishes a snapshot if QEMU has made it, and undoes it otherwise.
func (op *operation) recoverCreating(ctx context.Context, conn qmp.Conn, rec *Record, undo externalUndo) error {
	if undo.Freeze && op.freezer != nil {
		if err := op.thaw(ctx); err != nil {
			op.log.WarnContext(ctx, "guest may still be frozen", "vm", op.inst.Name, "error", err)
		}
	}
	graph, err := graphOf(ctx, conn)
	if err != nil {
		return err
	}
	made := undo.Switching && slices.ContainsFunc(rec.Disks, func(d RecordDisk) bool {
		chain := graph.chain(d.Name)
		return len(chain) > 0 && sameFile(chain[0].path, d.Layer)
	})
	if made {
		return op.covered(ctx, rec)
	}
	for _, d := range rec.Disks {
		op.keeper.step(ctx, "remove node "+d.Name)
		if err := unlessRefused(qapi.BlockdevDel(ctx, conn, layerNode(d.Name, d.Layer))); err != nil { // never made
			return err
		}
	}
	return op.keeper.unmade(ctx, rec)
}

// unmade deletes the overlays of a snapshot that QEMU has not made.
func (k *Keeper) unmade(ctx context.Context, rec *Record) error {
	for _, d := range rec.Disks {
		k.step(ctx, "remove overlay "+d.Name)
		if err := k.images.Delete(ctx, d.Layer); err != nil {
			return err
		}
	}
	return k.drop(ctx, rec)
}

// stayed deletes the images of a load that has not begun to count.
func (k *Keeper) stayed(ctx context.Context, rec *Record, undo externalUndo) error {
	for _, f := range undo.Fresh {
		if f.Path == f.Base {
			continue
		}
		k.step(ctx, "remove overlay "+f.Disk)
		if err := k.images.Delete(ctx, f.Path); err != nil {
			return err
		}
	}
	return k.end(ctx, rec)
}

// recoverExternal finishes or undoes an operation on an external snapshot, of a VM that is
// not live.
func (k *Keeper) recoverExternal(ctx context.Context, r *vm.Reservation, rec *Record) error {
	undo, err := rec.externalUndo()
	if err != nil {
		return err
	}
	switch rec.Pending {
	case Creating:
		if undo.Switching {
			return k.finishCreating(ctx, r, rec)
		}
		return k.unmade(ctx, rec)
	case Loading:
		if loaded(r.Instance(), r.Originals(), undo) {
			return k.reloaded(ctx, r, rec, undo)
		}
		return k.stayed(ctx, rec, undo)
	case Committing:
		k.repair(ctx, undo)
		if err := k.mergeFiles(ctx, r, rec, undo); err != nil {
			k.log.WarnContext(ctx, "interrupted commit is not finished", "vm", r.Instance().Name, "snapshot", rec.Name, "error", err)
		}
		return nil
	}
	return k.streamed(ctx, r, rec, undo)
}

// finishCreating makes a snapshot of which only QEMU, which is gone, knew whether the guest wrote
// to the overlays. With them the disks are what they were in either case: an overlay that
// nobody wrote to is as what is below it. Those of disks that vanish with their guest are gone,
// and with them all, if there are no others, the snapshot.
func (k *Keeper) finishCreating(ctx context.Context, r *vm.Reservation, rec *Record) error {
	there := slices.Clone(rec.Disks)
	there = slices.DeleteFunc(there, func(d RecordDisk) bool {
		_, err := k.images.Chain(ctx, d.Layer, vm.FormatQcow2)
		return errors.Is(err, errors.ErrImageNotFound)
	})
	if len(there) == 0 {
		return k.unmade(ctx, rec)
	}
	rec.Disks = there
	k.step(ctx, "stand on it")
	if err := k.coveredBy(ctx, r, rec); err != nil {
		return err
	}
	return k.end(ctx, rec)
}

// loaded reports whether it is recorded that the disks stand on the fresh images.
func loaded(inst vm.Instance, originals []vm.Image, undo externalUndo) bool {
	for _, f := range undo.Fresh {
		layer := slices.IndexFunc(inst.Layers, func(l vm.Layer) bool { return l.Disk == f.Disk })
		switch {
		case layer >= 0:
			if !sameFile(inst.Layers[layer].Path, f.Path) {
				return false
			}
		case !slices.ContainsFunc(originals, func(img vm.Image) bool { return img.Name == f.Disk && sameFile(img.Path, f.Path) }):
			return false
		}
	}
	return true
}

// repair frees what a QEMU or qemu-img that died while it merged has leaked.
func (k *Keeper) repair(ctx context.Context, undo externalUndo) {
	for _, m := range undo.Merges {
		if m.Format != vm.FormatQcow2 {
			continue
		}
		if err := k.images.Repair(ctx, m.Base); err != nil {
			k.log.WarnContext(ctx, "image is not repaired", "path", m.Base, "error", err)
		}
	}
}
