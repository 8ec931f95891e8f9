package snapshot

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// offered says what can't be had of a backend that keeps snapshots by its own means.
func (op *operation) offered() error {
	if op.backend == nil || op.call&(onCreate|onLoad|onDelete) != 0 {
		return nil
	}
	e := &errors.Error{Kind: errors.ErrSnapshotBlocked, Op: op.what, VM: op.inst.Name,
		Msg: "the backend " + cmp.Or(op.inst.Host, op.inst.Config.Backend) + " of the VM keeps its snapshots, and can create, load, list and delete them only"}
	if op.call == onMerge {
		e.Hint = "Delete merges an external one"
	}
	return e
}

// spec describes a snapshot to a backend.
func (o *options) spec(name string, inst vm.Instance) vm.SnapshotSpec {
	return vm.SnapshotSpec{Name: name, Description: o.description, External: o.kind(inst) == External,
		NoMemory: o.cold, Freeze: o.freeze != freezeNever, MustFreeze: o.freeze == freezeAlways}
}

// allowed fails with all that stands in the way of what the backend is to do.
func (op *operation) allowed(ctx context.Context, act vm.SnapshotAct, spec vm.SnapshotSpec) error {
	list, err := blockersOf(ctx, op.backend, op.inst, act, spec)
	if rec, ok := op.record(spec.Name); ok && act == vm.LoadingSnapshot && rec.Kind == Memory && !spec.NoMemory {
		list = append(list, misfits(rec, op.inst, "")...)
	}
	return op.refuse(list, err)
}

func blockersOf(ctx context.Context, backend vm.Snapshotter, inst vm.Instance, act vm.SnapshotAct, spec vm.SnapshotSpec) ([]Blocker, error) {
	found, err := backend.SnapshotBlockers(ctx, inst, act, spec)
	list := make([]Blocker, len(found))
	for i, b := range found {
		list[i] = Blocker(b)
	}
	return list, err
}

// createByBackend has the backend make a snapshot. That is recorded before, so that what our
// death leaves is found; and after, to tell it from those of others.
func (op *operation) createByBackend(ctx context.Context, name string) (Snapshot, error) {
	spec := op.spec(name, op.inst)
	if err := op.allowed(ctx, vm.CreatingSnapshot, spec); err != nil {
		return Snapshot{}, err
	}
	rec := op.newRecord(name, op.kind(op.inst))
	rec.Disks = []RecordDisk{}
	if err := op.layerByBackend(ctx, &rec, &spec); err != nil {
		return Snapshot{}, err
	}
	undo := memoryUndo{Ran: op.inst.State == vm.Running}
	if err := op.keeper.begin(ctx, &rec, Creating, undo); err != nil {
		return Snapshot{}, errors.Join(err, op.r.DropLayers(context.WithoutCancel(ctx), spec.Layers))
	}
	op.tell(Progress{Step: "save"})
	err := op.saveByBackend(ctx, spec, undo)
	if err != nil {
		err = errors.Wrap(errors.ErrSnapshotCreation, op.what, op.inst.Name, err)
		undoing, cancel := op.keeper.outlive(ctx)
		defer cancel()
		return Snapshot{}, errors.Join(err, op.undoByBackend(undoing, &rec, undo))
	}
	ctx = context.WithoutCancel(ctx) // it is there by now
	if err := op.finishByBackend(ctx, &rec); err != nil {
		return Snapshot{}, err
	}
	return op.shown(ctx, name)
}

// layerByBackend makes the images that an external snapshot puts over the disks, as maqet's own
// are: they go with the VM.
func (op *operation) layerByBackend(ctx context.Context, rec *Record, spec *vm.SnapshotSpec) (err error) {
	if !spec.External {
		return nil
	}
	if spec.Layers, err = op.r.MakeLayers(ctx); err != nil {
		return errors.Wrap(errors.ErrSnapshotCreation, op.what, op.inst.Name, err)
	}
	for _, l := range spec.Layers {
		rec.Disks = append(rec.Disks, RecordDisk{Name: l.Disk, Layer: l.Path, Format: vm.FormatQcow2})
	}
	return nil
}

// dropLayers deletes the images of an external snapshot that is gone, as far as the backend did not.
func (op *operation) dropLayers(ctx context.Context, rec *Record) error {
	var layers []vm.Layer
	for _, d := range rec.Disks {
		layers = append(layers, vm.Layer{Disk: d.Name, Path: d.Layer})
	}
	if len(layers) == 0 {
		return nil
	}
	if err := op.r.TakeLayers(ctx, op.backend); err != nil {
		return err
	}
	return op.r.DropLayers(ctx, layers)
}

// saveByBackend makes the snapshot, and has the guest run or not, as is asked for.
func (op *operation) saveByBackend(ctx context.Context, spec vm.SnapshotSpec, undo memoryUndo) error {
	if op.after == thenPaused && undo.Ran {
		conn, err := op.connect(ctx)
		if err == nil {
			err = qapi.Stop(ctx, conn) // now, so that it stays where the snapshot is
		}
		if err != nil {
			return err
		}
	}
	op.keeper.step(ctx, "save: by backend")
	if err := op.backend.CreateSnapshot(ctx, op.inst, spec); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // too late to be stopped short
	}
	if op.after == thenRunning {
		return op.goOn(ctx)
	}
	return nil
}

// goOn lets the guest of a live VM run.
func (op *operation) goOn(ctx context.Context) error {
	guest, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return err
	}
	return guest.Continue(ctx)
}

// undoByBackend undoes a snapshot that failed or was given up. What is out of reach now is left
// to the next operation.
func (op *operation) undoByBackend(ctx context.Context, rec *Record, undo memoryUndo) error {
	err := op.backend.DeleteSnapshot(ctx, op.inst, rec.Name)
	if err == nil && undo.Ran && op.after == thenPaused {
		err = op.goOn(ctx)
	}
	if err == nil {
		err = op.dropLayers(ctx, rec)
	}
	if err == nil {
		err = op.keeper.drop(ctx, rec)
	}
	if err != nil {
		op.log.WarnContext(ctx, "failed snapshot not undone; the next operation does it", "vm", op.inst.Name,
			"snapshot", rec.Name, "error", err)
	}
	return err
}

// finishByBackend records a snapshot that is made.
func (op *operation) finishByBackend(ctx context.Context, rec *Record) error {
	list, err := op.backend.ListSnapshots(ctx, op.inst)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Name == rec.Name {
			rec.Created = s.Created // by the clock of the backend's host
		}
	}
	if err := op.standAs(ctx, list); err != nil {
		return err
	}
	return op.keeper.end(ctx, rec)
}

// standAs records what the disks stand on, and are written in, by what the backend says.
func (op *operation) standAs(ctx context.Context, list []vm.BackendSnapshot) error {
	current := ""
	for _, s := range list {
		if s.Current {
			current = s.Name
		}
	}
	if err := op.r.Update(ctx, func(i *vm.Instance) { i.Snapshot = current }); err != nil {
		return err
	}
	return op.r.TakeLayers(ctx, op.backend)
}

// mendByBackend finishes or undoes snapshots that were being made when their maker, or the way to
// the backend's host, died.
func (op *operation) mendByBackend(ctx context.Context) error {
	op.inst = op.r.Instance()
	records, err := op.keeper.records.Snapshots(ctx, op.inst.ID)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if rec.Pending != Creating {
			continue
		}
		op.log.InfoContext(ctx, "interrupted snapshot operation is mended", "vm", op.inst.Name, "snapshot", rec.Name)
		if err := op.mendCreated(ctx, &rec); err != nil {
			return errors.Wrap(errors.ErrSnapshot, "mend snapshot "+rec.Name, op.inst.Name, err)
		}
	}
	return nil
}

// mendCreated looks whether the backend has the snapshot: then it is whole.
func (op *operation) mendCreated(ctx context.Context, rec *Record) error {
	var undo memoryUndo
	if err := json.Unmarshal(rec.Undo, &undo); err != nil {
		return err
	}
	list, err := op.backend.ListSnapshots(ctx, op.inst)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Name == rec.Name {
			err := op.finishByBackend(ctx, rec)
			return errors.Join(err, op.resume(ctx, undo))
		}
	}
	if err := op.backend.DeleteSnapshot(ctx, op.inst, rec.Name); err != nil {
		return err
	}
	if err := errors.Join(op.resume(ctx, undo), op.dropLayers(ctx, rec)); err != nil {
		return err
	}
	return op.keeper.drop(ctx, rec)
}

// resume lets a guest go on that ran before its snapshot was begun, and stands still since.
func (op *operation) resume(ctx context.Context, undo memoryUndo) error {
	if !undo.Ran || op.inst.State != vm.Paused {
		return nil
	}
	return op.goOn(ctx)
}

// deleteByBackend has the backend delete a snapshot.
func (op *operation) deleteByBackend(ctx context.Context, name string) error {
	rec, recorded := op.record(name)
	err := op.allowed(ctx, vm.DeletingSnapshot, op.spec(name, op.inst))
	if errors.Is(err, errors.ErrSnapshotNotFound) && recorded {
		return op.keeper.drop(ctx, rec) // somebody else has deleted it
	}
	if err != nil {
		return err
	}
	op.keeper.step(ctx, "delete: by backend")
	if err := op.backend.DeleteSnapshot(ctx, op.inst, name); err != nil {
		return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
	}
	ctx = context.WithoutCancel(ctx)
	if op.inst.Restore == name { // its disks are loaded; the next start boots from them
		if err := op.r.Update(ctx, func(i *vm.Instance) { i.Restore = "" }); err != nil {
			return err
		}
	}
	if recorded {
		if err := errors.Join(op.dropLayers(ctx, rec), op.keeper.drop(ctx, rec)); err != nil {
			return err
		}
	}
	list, err := op.backend.ListSnapshots(ctx, op.inst)
	if err == nil {
		err = op.standAs(ctx, list)
	}
	return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
}
