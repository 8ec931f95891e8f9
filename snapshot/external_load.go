package snapshot

import (
	"context"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Drop gives up all that was written since an external snapshot, and the snapshot with it: the
// VM is as [Coordinator.Load] makes it, and where nothing else needs the images that the
// snapshot kept, the disks are written in those again. Snapshots on other branches stay.
func (c *Coordinator) Drop(ctx context.Context, ref, name string, opts ...Option) error {
	return c.onExternal(ctx, "drop snapshot ", ref, name, opts, func(ctx context.Context, op *operation, rec *Record) error {
		return op.goBack(ctx, rec, true)
	})
}

// loadExternal gives up what was written since an external snapshot was made: the disks get
// fresh overlays over the images that it kept. Images that other snapshots need stay.
//
// The guest of a live VM is ended for it, and started again if it ran. When ctx ends after it
// was ended, the load is finished, and the VM stays stopped.
func (op *operation) loadExternal(ctx context.Context, rec *Record) error {
	return op.goBack(ctx, rec, false)
}

func (op *operation) goBack(ctx context.Context, rec *Record, forget bool) error {
	undo, err := op.planLoad(ctx, rec, forget)
	if err != nil {
		return err
	}
	start := op.startAfter()
	if err := op.keeper.begin(ctx, rec, Loading, undo); err != nil {
		return err
	}
	if op.live() {
		if err := op.powerOff(ctx); err != nil {
			return errors.Join(err, op.mendNow(ctx, rec))
		}
	}
	if err := op.keeper.reload(context.WithoutCancel(ctx), op.r, rec, undo); err != nil {
		return errors.Join(err, op.mendNow(ctx, rec))
	}
	if start == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	op.keeper.step(ctx, "start")
	op.r.Unfence()
	_, err = op.vms.Start(ctx, op.inst.ID, start...)
	return err
}

// startAfter returns how the VM is to be started afterwards, nil: not at all.
func (op *operation) startAfter() []vm.StartOption {
	switch {
	case op.after == thenPaused, op.after == asBefore && op.inst.State == vm.Paused:
		return []vm.StartOption{vm.StartPaused()}
	case op.after == thenRunning, op.inst.State == vm.Running:
		return []vm.StartOption{}
	}
	return nil
}

// powerOff ends the guest and keeps others from starting it. Ephemeral disks, which go with
// their guest otherwise, are kept: it is about to go on.
func (op *operation) powerOff(ctx context.Context) error {
	op.keeper.step(ctx, "power off")
	if _, err := op.vms.Stop(ctx, op.inst.ID, vm.Force(), vm.KeepImages()); err != nil {
		return err
	}
	fenced, err := op.r.Fence(context.WithoutCancel(ctx))
	if err == nil && !fenced {
		err = &errors.Error{Kind: errors.ErrVMAlreadyRunning, Op: op.what, VM: op.inst.Name, Msg: "somebody else starts the VM", Hint: "try again"}
	}
	return err
}

// planLoad says which images the disks are to stand on, and what stands in the way.
func (op *operation) planLoad(ctx context.Context, rec *Record, forget bool) (undo externalUndo, err error) {
	stacks, err := op.keeper.stacks(ctx, op.r, rec)
	if err != nil {
		return undo, err
	}
	need, err := op.neededByOthers(ctx, rec)
	if err != nil {
		return undo, err
	}
	undo.Forget = forget
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	images := op.r.Images()
	for _, s := range stacks {
		if len(s.chain) == 0 {
			blocked.Blockers = append(blocked.Blockers, Blocker{s.disk, "is in the snapshot, but not in the VM any more", "plug it again"})
			continue
		}
		kept, err := op.keeper.images.Chain(ctx, s.kept.Path, s.kept.Format)
		if err != nil {
			blocked.Blockers = append(blocked.Blockers, Blocker{s.disk, "can't go back: " + err.Error(), "bring the image back, or delete the snapshot"})
			continue
		}
		blocked.Blockers = append(blocked.Blockers, op.overwritten(s.disk, kept)...)
		gone := givenUp(s, kept, need)
		found, err := op.holdsSnapshots(ctx, s.disk, gone)
		if err != nil {
			return undo, err
		}
		blocked.Blockers = append(blocked.Blockers, found...)
		undo.Discard = append(undo.Discard, gone...)
		fresh := freshImage{Disk: s.disk, Path: newLayer(op.r), Base: kept[0].Path, BaseFormat: kept[0].Format}
		ephemeral := slices.ContainsFunc(images, func(img vm.Image) bool { return img.Name == s.disk && img.Ephemeral })
		if forget && !ephemeral && !need[fresh.Base] && !op.standsBeside(ctx, s, gone) {
			fresh.Path = fresh.Base
		}
		undo.Fresh = append(undo.Fresh, fresh)
	}
	if len(blocked.Blockers) > 0 {
		return undo, blocked
	}
	return undo, nil
}

// overwritten names the commits that have begun to write to images which a disk would stand on,
// and could not be finished: those hold neither what they did nor what they will.
func (op *operation) overwritten(disk string, images []storage.Image) (blockers []Blocker) {
	for i := range op.records {
		rec := &op.records[i]
		if rec.Kind != External || rec.Pending != Committing {
			continue
		}
		undo, err := rec.externalUndo()
		if err != nil || slices.ContainsFunc(undo.Merges, func(m merge) bool {
			return slices.ContainsFunc(images, func(img storage.Image) bool { return sameFile(img.Path, m.Base) })
		}) {
			blockers = append(blockers, Blocker{disk, "stands on what the unfinished commit of snapshot " + rec.Name + " has begun to overwrite",
				"commit " + rec.Name + " first"})
		}
	}
	return blockers
}

// givenUp returns the images of a disk that hold what was written since, and that nothing else
// needs.
func givenUp(s stack, kept []storage.Image, need map[string]bool) (paths []string) {
	for _, img := range s.chain {
		if slices.ContainsFunc(kept, func(k storage.Image) bool { return k.Path == img.Path }) {
			break
		}
		if !need[img.Path] {
			paths = append(paths, img.Path)
		}
	}
	return paths
}

// standsBeside reports whether another file than those given up stands on the image that was
// kept, so that it must not be written.
func (op *operation) standsBeside(ctx context.Context, s stack, gone []string) bool {
	over, err := op.keeper.images.Files(ctx, storage.FileFilter{Base: s.kept.Path})
	return err != nil || slices.ContainsFunc(over, func(f storage.File) bool { return !slices.Contains(gone, f.Path) })
}

// neededByOthers returns the images that other external snapshots need.
func (op *operation) neededByOthers(ctx context.Context, rec *Record) (map[string]bool, error) {
	need := map[string]bool{}
	for _, other := range op.records {
		if other.Kind != External || other.Name == rec.Name {
			continue
		}
		for _, d := range other.Disks {
			chain, err := op.keeper.images.Chain(ctx, d.Path, d.Format)
			if err != nil && !errors.Is(err, errors.ErrImageNotFound) {
				return nil, err
			}
			for _, img := range chain {
				need[img.Path] = true
			}
		}
	}
	return need, nil
}

// reload has the disks of a VM that is not live stand on fresh images.
func (k *Keeper) reload(ctx context.Context, r *vm.Reservation, rec *Record, undo externalUndo) error {
	for _, f := range undo.Fresh {
		if f.Path == f.Base {
			continue
		}
		k.step(ctx, "overlay "+f.Disk)
		if _, err := k.images.Overlay(ctx, storage.OverlaySpec{Path: f.Path, Base: f.Base, BaseFormat: f.BaseFormat,
			For: storage.For{Owner: rec.VM, Disk: f.Disk, Kind: storage.KindLayer}}); err != nil {
			return err
		}
	}
	k.step(ctx, "stand on it")
	originals := r.Originals()
	err := r.Update(ctx, func(i *vm.Instance) {
		for _, f := range undo.Fresh {
			format := vm.FormatQcow2
			if f.Path == f.Base {
				format = f.BaseFormat
			}
			setImage(i, originals, f.Disk, f.Path, format)
		}
		i.Snapshot, i.Restore = rec.Name, ""
	})
	if err != nil {
		return err
	}
	return k.reloaded(ctx, r, rec, undo)
}

// reloaded deletes what nothing needs after a load that is recorded, and ends it.
func (k *Keeper) reloaded(ctx context.Context, r *vm.Reservation, rec *Record, undo externalUndo) error {
	if undo.Forget {
		undo.Discard = append(undo.Discard, keptPaths(rec)...)
		if err := k.discard(ctx, r, rec, undo.Discard); err != nil {
			return err
		}
		return k.forgetExternal(ctx, r, rec)
	}
	if err := k.discard(ctx, r, nil, undo.Discard); err != nil {
		return err
	}
	for i := range rec.Disks {
		for _, f := range undo.Fresh {
			if f.Disk == rec.Disks[i].Name {
				rec.Disks[i].Layer = f.Path
			}
		}
	}
	return k.end(ctx, rec)
}

func keptPaths(rec *Record) (paths []string) {
	for _, d := range rec.Disks {
		paths = append(paths, d.Path)
	}
	return paths
}
