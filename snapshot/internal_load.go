package snapshot

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// internalUndo is what undoing or finishing a load into images that nobody uses needs to know.
type internalUndo struct {
	// Name is that of a snapshot that is made on each disk, to go back to.
	Name string `json:"undo_name"`
	// State is true if the VM remembered anything besides its disks, which is copied, too.
	State bool `json:"state,omitempty"`
	// Cold is true if the next start is not to continue from the snapshot's memory.
	Cold bool `json:"cold,omitempty"`
	// Loaded is set when all is loaded: there is no way back from there.
	Loaded bool `json:"loaded,omitempty"`
}

// loadOffline loads an internal snapshot into a VM that is not live, and starts it if that is
// asked for.
func (op *operation) loadOffline(ctx context.Context, rec *Record) error {
	start := op.startAfter()
	if err := op.loadInternal(ctx, rec); err != nil || start == nil {
		return err
	}
	op.keeper.step(ctx, "loading: start")
	op.r.Unfence()
	_, err := op.vms.Start(ctx, op.inst.ID, start...)
	return err
}

// loadInternal loads an internal snapshot, with or without memory, into the disks of a VM
// that is not live. If it fails, or ctx ends, all disks are as they were.
func (op *operation) loadInternal(ctx context.Context, rec *Record) error {
	return op.keeper.loadInternal(ctx, op.r, rec, op.cold)
}

func (k *Keeper) loadInternal(ctx context.Context, r *vm.Reservation, rec *Record, cold bool) error {
	disks, err := k.loadableDisks(ctx, r, rec, cold)
	if err != nil {
		return err
	}
	undo := internalUndo{Name: undoPrefix + rec.ID, Cold: cold}
	if undo.State, err = copiesOf(r).any(); err != nil {
		return err
	}
	err = k.begin(ctx, rec, Loading, undo)
	if err == nil {
		err = k.prepareLoad(ctx, r, rec, disks, undo)
	}
	if err == nil {
		err = k.loadOn(ctx, r, rec, disks)
	}
	if err == nil {
		undo.Loaded = true
		err = k.begin(ctx, rec, Loading, undo)
	}
	if err != nil {
		return errors.Join(err, k.undo(ctx, rec, func(ctx context.Context) error { return k.undoLoad(ctx, r, rec, undo) }))
	}
	// What is loaded is not given up any more.
	return k.undo(ctx, rec, func(ctx context.Context) error { return k.finishLoad(ctx, r, rec, undo) })
}

// prepareLoad makes what a load can be undone with. QEMU loads no snapshot into an image with
// dirty bitmaps, which would say nothing true any more: maqet's are removed.
func (k *Keeper) prepareLoad(ctx context.Context, r *vm.Reservation, rec *Record, disks []RecordDisk, undo internalUndo) error {
	k.step(ctx, "loading: keep state")
	if err := copiesOf(r).save(ctx, undo.Name); err != nil {
		return err
	}
	for _, d := range disks {
		if err := k.dropBitmaps(ctx, r, d); err != nil {
			return err
		}
		k.step(ctx, "loading: keep disk "+d.Name)
		if err := k.images.CreateSnapshot(ctx, d.Path, undo.Name, keysOf(r.Instance(), d.Name)...); err != nil {
			return err
		}
	}
	return nil
}

// dropBitmaps removes the dirty bitmaps of an image. The next backup is a full one.
func (k *Keeper) dropBitmaps(ctx context.Context, r *vm.Reservation, d RecordDisk) error {
	names, err := k.images.Bitmaps(ctx, d.Path)
	for _, name := range names {
		k.step(ctx, "loading: remove bitmap of disk "+d.Name)
		if err := k.images.RemoveBitmap(ctx, d.Path, name, keysOf(r.Instance(), d.Name)...); err != nil {
			return err
		}
	}
	return err
}

// loadOn loads the snapshot into disks, and what the VM remembered besides them. A snapshot that
// was made of a live VM has that in its memory, and knows nothing of the files.
func (k *Keeper) loadOn(ctx context.Context, r *vm.Reservation, rec *Record, disks []RecordDisk) error {
	for _, d := range disks {
		k.step(ctx, "loading: disk "+d.Name)
		if err := k.images.LoadSnapshot(ctx, d.Path, rec.Name, keysOf(r.Instance(), d.Name)...); err != nil {
			return err
		}
	}
	if rec.Kind != Internal {
		return nil
	}
	k.step(ctx, "loading: state")
	return copiesOf(r).load(ctx, rec.ID)
}

// finishLoad records that the VM stands on the snapshot, and clears away what the load could
// have been undone with.
func (k *Keeper) finishLoad(ctx context.Context, r *vm.Reservation, rec *Record, undo internalUndo) error {
	restore := ""
	if rec.Vmstate != "" && !undo.Cold {
		restore = rec.Name
	}
	k.step(ctx, "loading: stand on it")
	if err := r.Update(ctx, func(i *vm.Instance) { i.Snapshot, i.Restore = rec.Name, restore }); err != nil {
		return err
	}
	return k.endLoad(ctx, r, rec, undo)
}

// endLoad deletes what the load could have been, or was, undone with.
func (k *Keeper) endLoad(ctx context.Context, r *vm.Reservation, rec *Record, undo internalUndo) error {
	if undo.Name == "" { // it was a live VM's, which has none
		return k.end(ctx, rec)
	}
	for _, d := range rec.Disks {
		if err := k.deleteFrom(ctx, r, "loading: clear disk ", d, undo.Name); err != nil {
			return err
		}
	}
	if err := copiesOf(r).drop(undo.Name); err != nil {
		return err
	}
	return k.end(ctx, rec)
}

// undoLoad brings the disks back to what they were. It can be done again, up to its end.
func (k *Keeper) undoLoad(ctx context.Context, r *vm.Reservation, rec *Record, undo internalUndo) error {
	if err := k.mend(ctx, r, rec); err != nil {
		return err
	}
	for _, d := range rec.Disks {
		_, kept, err := k.held(ctx, d.Path, undo.Name)
		if err == nil && kept { // else it was not touched
			k.step(ctx, "loading: undo disk "+d.Name)
			err = k.images.LoadSnapshot(ctx, d.Path, undo.Name, keysOf(r.Instance(), d.Name)...)
		}
		if err != nil {
			return err
		}
	}
	copies := copiesOf(r)
	kept, err := copies.has(undo.Name)
	if err == nil && (kept || !undo.State) { // else it was not touched
		k.step(ctx, "loading: undo state")
		err = copies.load(ctx, undo.Name)
	}
	if err != nil {
		return err
	}
	return k.endLoad(ctx, r, rec, undo)
}

// recoverLoad finishes or undoes a load that was interrupted.
func (k *Keeper) recoverLoad(ctx context.Context, r *vm.Reservation, rec *Record) error {
	var undo internalUndo
	if len(rec.Undo) > 0 {
		if err := json.Unmarshal(rec.Undo, &undo); err != nil {
			return errors.Wrap(errors.ErrSnapshot, "read what is recorded", r.Instance().Name, err)
		}
	}
	switch {
	case undo.Loaded:
		if err := k.mend(ctx, r, rec); err != nil {
			return err
		}
		return k.finishLoad(ctx, r, rec, undo)
	case undo.Name != "":
		return k.undoLoad(ctx, r, rec, undo)
	}
	return k.recoverLiveLoad(ctx, r, rec)
}

// recoverLiveLoad finishes a load of a live VM whose guest has ended in the middle of it: some
// disks are loaded already, and there is no way back. The next start boots: the memory may be
// what the guest has ended of.
func (k *Keeper) recoverLiveLoad(ctx context.Context, r *vm.Reservation, rec *Record) error {
	if err := k.mend(ctx, r, rec); err != nil {
		return err
	}
	left, err := k.withoutVanished(r, rec)
	if err != nil {
		return err
	}
	if len(left.Disks) == 0 {
		return k.end(ctx, rec)
	}
	disks, err := k.loadableDisks(ctx, r, left, true)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if err := k.dropBitmaps(ctx, r, d); err != nil {
			return err
		}
	}
	if err := k.loadOn(ctx, r, rec, disks); err != nil {
		return err
	}
	return k.finishLoad(ctx, r, rec, internalUndo{Cold: true})
}

// withoutVanished returns a record without the disks whose images went with the guest: the next
// one gets new ones.
func (k *Keeper) withoutVanished(r *vm.Reservation, rec *Record) (*Record, error) {
	left := *rec
	left.Disks = nil
	images := r.Images()
	for _, d := range rec.Disks {
		there, err := isThere(d.Path)
		if err != nil {
			return nil, err
		}
		passing := slices.ContainsFunc(images, func(img vm.Image) bool { return img.Name == d.Name && img.Ephemeral })
		if there || !passing {
			left.Disks = append(left.Disks, d)
		}
	}
	return &left, nil
}
