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

// memoryUndo is what undoing or finishing an operation on a live VM needs to know.
type memoryUndo struct {
	Ran bool   `json:"ran"`           // the guest's CPUs ran before
	Job string `json:"job,omitempty"` // id of the job that loads memory
}

// createMemory makes a snapshot of a live VM with its memory: QEMU's job snapshot-save halts
// the guest, and with it QEMU's main loop, until all is written. The job can't be stopped
// short: when ctx ends, the snapshot is deleted again once it is there.
func (op *operation) createMemory(ctx context.Context, rec *Record) error {
	conn, err := op.connect(ctx)
	if err != nil {
		return err
	}
	list, err := nodesOf(ctx, conn)
	if err != nil {
		return err
	}
	if err := op.choose(rec, list); err != nil {
		return err
	}
	if rec.Version, err = op.version(ctx); err != nil {
		return err
	}
	status, err := qapi.QueryStatus(ctx, conn)
	if err != nil {
		return err
	}
	undo := memoryUndo{Ran: status.Running}
	if err := op.keeper.begin(ctx, rec, Creating, undo); err != nil {
		return err
	}
	if err = op.save(ctx, conn, rec, undo); err == nil {
		return nil
	}
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if undoErr := op.unsave(undoing, conn, rec, undo); undoErr != nil {
		op.log.WarnContext(ctx, "failed snapshot not undone; the next operation does it", "vm", op.inst.Name,
			"snapshot", rec.Name, "error", undoErr)
	}
	return err
}

// connect returns the control channel of the operation's live VM.
func (op *operation) connect(ctx context.Context) (qmp.Conn, error) {
	g, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return nil, err
	}
	return g.QMP(), nil
}

// choose fills in the disks that get the snapshot: all that the guest writes. The first holds
// the memory, as in QEMU's savevm; where there is none, an image of its own does.
func (op *operation) choose(rec *Record, list nodes) error {
	images := op.r.Images()
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	rec.Disks, rec.Vmstate = []RecordDisk{}, ""
	for _, n := range list.active {
		known := slices.ContainsFunc(images, func(img vm.Image) bool { return img.Name == n.disk })
		switch {
		case n.readOnly || isFlash(n.disk):
		case n.format != vm.FormatQcow2:
			blocked.Blockers = append(blocked.Blockers, Blocker{n.disk, "is written, and has the format " + n.format,
				"convert its image to qcow2, or make it read-only"})
		case !known:
			blocked.Blockers = append(blocked.Blockers, Blocker{n.disk, "is no disk of the configuration",
				"put it into Config.Disks instead of Config.Args"})
		default:
			rec.Disks = append(rec.Disks, RecordDisk{Name: n.disk, Path: n.path, Format: n.format})
		}
	}
	if len(blocked.Blockers) > 0 {
		return blocked
	}
	order := func(name string) int {
		return slices.IndexFunc(images, func(img vm.Image) bool { return img.Name == name })
	}
	slices.SortFunc(rec.Disks, func(a, b RecordDisk) int { return order(a.Name) - order(b.Name) })
	if len(rec.Disks) == 0 {
		rec.Disks = append(rec.Disks, vmstateDisk(op.r))
	}
	rec.Vmstate = rec.Disks[0].Name
	return nil
}

// isFlash reports whether a drive is the flash memory of a firmware. What is in it is part of
// the machine's memory for QEMU, which writes it back after a load (hw/block/pflash_cfi01.c).
func isFlash(qdev string) bool {
	return qdev == "/machine/system.flash0" || qdev == "/machine/system.flash1"
}

// save makes the snapshot and records it.
func (op *operation) save(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo) error {
	list, err := op.keeper.open(ctx, conn, rec, true)
	if err != nil {
		return err
	}
	if op.after == thenPaused && undo.Ran {
		op.keeper.step(ctx, "save: pause")
		if err := qapi.Stop(ctx, conn); err != nil { // now, so that it stays where the snapshot is
			return err
		}
	}
	op.keeper.step(ctx, "save: start job")
	id := jobID(rec, "save")
	err = jobs{conn: conn, ids: []string{id}, step: "save", tell: op.progress, start: func(ctx context.Context) error {
		return qapi.SnapshotSave(ctx, conn, qapi.SnapshotSaveArgs{JobID: id, Tag: rec.Name, Vmstate: list[0], Devices: list})
	}}.follow(ctx)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // too late to be stopped short
	}
	if err != nil {
		return err
	}
	return op.saved(ctx, conn, rec)
}

// saved records a snapshot that QEMU has made.
func (op *operation) saved(ctx context.Context, conn qmp.Conn, rec *Record) error {
	whole, err := describe(ctx, conn, rec)
	if err == nil && !whole {
		err = &errors.Error{Kind: errors.ErrSnapshotCreation, Op: op.what, VM: op.inst.Name, Msg: "QEMU reports success, but not all disks have the snapshot"}
	}
	if err == nil && op.after == thenRunning {
		op.keeper.step(ctx, "save: continue")
		err = qapi.Cont(ctx, conn)
	}
	if err != nil {
		return err
	}
	op.keeper.step(ctx, "save: stand on it")
	if err := op.r.Update(context.WithoutCancel(ctx), func(i *vm.Instance) { i.Snapshot = rec.Name }); err != nil {
		return err
	}
	if err := op.keeper.end(ctx, rec); err != nil {
		return err
	}
	op.settled(ctx, conn)
	return nil
}

// describe fills in what the images say of a snapshot, and reports whether all of them hold
// it, and one of them the memory.
func describe(ctx context.Context, conn qmp.Conn, rec *Record) (whole bool, err error) {
	list, err := nodesOf(ctx, conn)
	if err != nil {
		return false, err
	}
	for _, d := range rec.Disks {
		n, _ := list.holding(d.Path)
		info := n.snapshot(rec.Name)
		if info == nil {
			return false, nil
		}
		if d.Name != rec.Vmstate {
			continue
		}
		rec.Size = info.VMStateSize
		rec.VMClock = time.Duration(info.VMClockSec)*time.Second + time.Duration(info.VMClockNsec)
	}
	return rec.Size > 0, nil
}

// unsave undoes a snapshot that failed or was given up: no image has it any more, and the
// guest runs if it did.
func (op *operation) unsave(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo) error {
	if err := op.keeper.begin(ctx, rec, Deleting, undo); err != nil { // no longer to be finished
		return err
	}
	if err := op.keeper.erase(ctx, conn, rec, nil); err != nil {
		return err
	}
	if undo.Ran {
		op.keeper.step(ctx, "undo: continue")
		if err := qapi.Cont(ctx, conn); err != nil {
			return err
		}
	}
	if err := op.forget(ctx, rec); err != nil {
		return err
	}
	op.settled(ctx, conn)
	return nil
}

// forget records that a snapshot is gone, after nothing holds it any more.
func (op *operation) forget(ctx context.Context, rec *Record) error {
	ctx = context.WithoutCancel(ctx)
	if err := op.keeper.reparent(ctx, op.r, rec); err != nil {
		return err
	}
	return op.keeper.drop(ctx, rec)
}

// settleLimit is how long what is recorded of a VM's state may take to follow what QEMU says.
const settleLimit = 30 * time.Second

// settled waits until what is recorded of the VM's state is what QEMU says. That it can't be
// known is no failure of the operation, which is done.
func (op *operation) settled(ctx context.Context, conn qmp.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	status, err := qapi.QueryStatus(ctx, conn)
	want := vm.Paused
	if status.Running {
		want = vm.Running
	}
	var inst vm.Instance
	if err == nil {
		inst, err = op.r.Refresh(ctx)
	}
	if err == nil && inst.State != want {
		_, err = op.vms.Wait(ctx, inst.ID, want, vm.Stopped, vm.Failed)
	}
	if err != nil {
		op.log.WarnContext(ctx, "state of the VM not known after a snapshot operation", "vm", op.inst.Name, "error", err)
	}
}
