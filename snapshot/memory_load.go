package snapshot

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// loadMemory loads an internal snapshot into a live VM.
//
// QEMU first brings back the disks, then the memory, and has no way back: what could make it
// fail is looked at before. When ctx ends, a load that has begun is finished in the background.
// When QEMU fails all the same the guest is neither what it was nor what it should be: it is
// ended, its disks are loaded, and the VM is Failed.
func (op *operation) loadMemory(ctx context.Context, rec *Record) error {
	if rec.Kind != Memory || op.cold {
		return op.loadCold(ctx, rec)
	}
	conn, err := op.connect(ctx)
	if err != nil {
		return err
	}
	names, err := op.loadable(ctx, conn, rec)
	if err != nil {
		return err
	}
	status, err := qapi.QueryStatus(ctx, conn)
	if err != nil {
		return err
	}
	undo := memoryUndo{Ran: status.Running, Job: vm.LoadJob + uuid.NewString()} // a new id: others are told by it
	if err := op.keeper.begin(ctx, rec, Loading, undo); err != nil {
		return err
	}
	ctx, cancel := op.keeper.outlive(ctx)
	defer cancel()
	return op.revert(ctx, conn, rec, names, undo)
}

// loadable returns the nodes of a snapshot's disks, that of the memory first. The guest must
// write to all of them, they must have the snapshot, and no dirty bitmaps but maqet's.
func (op *operation) loadable(ctx context.Context, conn qmp.Conn, rec *Record) ([]string, error) {
	names, err := op.keeper.open(ctx, conn, rec, false)
	if err != nil {
		return nil, err
	}
	list, err := nodesOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	for _, d := range rec.Disks {
		n, _ := list.holding(d.Path)
		info := n.snapshot(rec.Name)
		switch {
		case n.readOnly:
			blocked.Blockers = append(blocked.Blockers, Blocker{d.Name, "is read only: " + d.Path + " is below an external snapshot",
				"load or commit that one first"})
		case info == nil || d.Name == rec.Vmstate && info.VMStateSize == 0:
			blocked.Blockers = append(blocked.Blockers, Blocker{d.Name, "does not hold the snapshot any more", "delete the snapshot"})
		}
		for _, b := range n.bitmaps {
			if !strings.HasPrefix(b.Name, bitmapPrefix) {
				blocked.Blockers = append(blocked.Blockers, Blocker{d.Name, "has the dirty bitmap " + b.Name + ", which would say nothing true any more",
					"remove it"})
			}
		}
	}
	if len(blocked.Blockers) > 0 {
		return nil, blocked
	}
	return names, nil
}

// revert has QEMU load the snapshot.
func (op *operation) revert(ctx context.Context, conn qmp.Conn, rec *Record, names []string, undo memoryUndo) error {
	if err := op.dropBitmaps(ctx, conn, rec); err != nil {
		return errors.Join(err, op.stay(ctx, conn, rec, undo))
	}
	op.keeper.step(ctx, "load: pause")
	if err := qapi.Stop(ctx, conn); err != nil { // it goes on when the host's connections are made anew, too
		return errors.Join(err, op.stay(ctx, conn, rec, undo))
	}
	if err := op.renew(ctx, undo.Job); err != nil {
		return errors.Join(err, op.stay(ctx, conn, rec, undo))
	}
	op.keeper.step(ctx, "load: start job")
	refused, id := false, undo.Job
	err := jobs{conn: conn, ids: []string{id}, keep: true, step: "load", tell: op.progress, start: func(ctx context.Context) error {
		err := qapi.SnapshotLoad(ctx, conn, qapi.SnapshotLoadArgs{JobID: id, Tag: rec.Name, Vmstate: names[0], Devices: names})
		var refusal *errors.QMPError
		refused = errors.As(err, &refusal)
		return err
	}}.follow(ctx)
	switch {
	case refused:
		return errors.Join(err, op.stay(ctx, conn, rec, undo))
	case err != nil:
		return op.broken(ctx, rec, err)
	}
	return op.loaded(ctx, conn, rec, undo)
}

// loaded records that QEMU has loaded the snapshot, and lets the guest go on.
func (op *operation) loaded(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo) error {
	if err := op.renew(ctx, undo.Job); err != nil {
		return err
	}
	op.keeper.step(ctx, "load: stand on it")
	if err := op.r.Update(ctx, func(i *vm.Instance) { i.Snapshot, i.Restore = rec.Name, "" }); err != nil {
		return err
	}
	if op.after == thenRunning || undo.Ran && op.after != thenPaused {
		op.keeper.step(ctx, "load: continue")
		if err := qapi.Cont(ctx, conn); err != nil {
			return err
		}
	}
	if err := op.keeper.end(ctx, rec); err != nil {
		return err
	}
	if err := dismiss(ctx, conn, undo.Job); err != nil {
		return err
	}
	op.settled(ctx, conn)
	return nil
}

// dropBitmaps removes maqet's dirty bitmaps, which QEMU does not load a snapshot with: the next
// backup is a full one.
func (op *operation) dropBitmaps(ctx context.Context, conn qmp.Conn, rec *Record) error {
	list, err := nodesOf(ctx, conn)
	if err != nil {
		return err
	}
	for _, d := range rec.Disks {
		n, _ := list.holding(d.Path)
		for _, b := range n.bitmaps {
			op.keeper.step(ctx, "load: remove bitmap")
			if err := qapi.BlockDirtyBitmapRemove(ctx, conn, qapi.BlockDirtyBitmap{Node: n.name, Name: b.Name}); err != nil {
				return err
			}
		}
	}
	return nil
}

// stay is the end of a load that QEMU did not begin: the guest goes on as it was.
func (op *operation) stay(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo) error {
	if undo.Ran {
		if err := qapi.Cont(ctx, conn); err != nil {
			return err
		}
	}
	if err := op.keeper.end(ctx, rec); err != nil {
		return err
	}
	op.settled(ctx, conn)
	return nil
}

// broken ends a guest into which QEMU has loaded a part of a snapshot, and brings its disks to
// what the snapshot has.
func (op *operation) broken(ctx context.Context, rec *Record, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit) // which may be why QEMU was given up
	defer cancel()
	_, err := op.vms.Stop(ctx, op.inst.ID, vm.Force(), vm.KeepImages(), vm.AsFailed(vm.ReasonLoadFailed+": "+rec.Name))
	if err == nil {
		err = op.offline(ctx, rec)
	}
	return errors.Join(&errors.Error{Kind: errors.ErrSnapshot, Op: op.what, VM: op.inst.Name, Err: cause,
		Msg:  "QEMU failed in the middle, so that the guest was ended",
		Hint: "its disks are those of the snapshot: start the VM to boot from them"}, err)
}

// offline finishes a load on the disks of a VM that has just ended.
func (op *operation) offline(ctx context.Context, rec *Record) error {
	fenced, err := op.r.Fence(ctx)
	if err != nil || !fenced {
		return err // who is quicker starts it, and finds what is journaled
	}
	return op.keeper.recoverInternal(ctx, op.r, rec)
}

// loadCold loads the disks of a snapshot into a live VM: its guest is ended, the disks are
// loaded, and it is started from them.
func (op *operation) loadCold(ctx context.Context, rec *Record) error {
	if err := op.powerOff(ctx); err != nil {
		return err
	}
	return op.loadOffline(ctx, rec)
}
