package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// createExternal puts an overlay over each disk of a live VM, all in one transaction.
//
// When ctx ends before that the snapshot is undone; afterwards it exists.
func (op *operation) createExternal(ctx context.Context, rec *Record) error {
	guest, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return err
	}
	disks, err := op.snapshotable(ctx, guest.QMP())
	if err != nil {
		return err
	}
	for _, d := range disks {
		rec.Disks = append(rec.Disks, RecordDisk{Name: d.disk.Name, Path: d.active.path, Format: d.active.format, Layer: d.layer})
	}
	undo := externalUndo{Freeze: op.freezer != nil && op.freeze != freezeNever}
	if err := op.keeper.begin(ctx, rec, Creating, undo); err != nil {
		return err
	}
	if err := op.cover(ctx, guest.QMP(), rec, undo, disks); err != nil {
		return op.uncover(ctx, rec, err)
	}
	return op.leave(ctx, guest.QMP())
}

// diskToCover is a disk that gets an overlay.
type diskToCover struct {
	disk   vm.Image
	active openImage
	layer  string // the overlay's file
}

// snapshotable returns the disks that the guest writes to, with what they are written in.
func (op *operation) snapshotable(ctx context.Context, conn qmp.Conn) (disks []diskToCover, err error) {
	graph, err := graphOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, img := range op.r.Images() {
		if img.Path == "" || img.ReadOnly {
			continue
		}
		chain := graph.chain(img.Name)
		if len(chain) == 0 || chain[0].readOnly {
			continue // taken out a moment ago
		}
		disks = append(disks, diskToCover{img, chain[0], newLayer(op.r)})
	}
	if len(disks) == 0 {
		return nil, &BlockedError{Op: op.what, VM: op.inst.Name, Blockers: []Blocker{{Reason: "the VM has no disk that it writes to",
			Fix: "make a snapshot with memory instead: leave out DiskOnly"}}}
	}
	return disks, nil
}

// cover makes the overlays and has the guest write to them.
func (op *operation) cover(ctx context.Context, conn qmp.Conn, rec *Record, undo externalUndo, disks []diskToCover) error {
	var actions []qapi.TransactionAction
	for i, d := range disks {
		op.keeper.step(ctx, "overlay "+d.disk.Name)
		img, err := op.keeper.images.Overlay(ctx, storage.OverlaySpec{Path: d.layer, Base: d.active.path, BaseFormat: d.active.format,
			For: storage.For{Owner: op.inst.ID, Disk: d.disk.Name, Kind: storage.KindLayer}})
		if err != nil {
			return err
		}
		rec.Disks[i].Path = img.Base // without symbolic links
		op.keeper.step(ctx, "node "+d.disk.Name)
		if err := qapi.BlockdevAdd(ctx, conn, op.overlayNode(d)); err != nil {
			return err
		}
		actions = append(actions, qapi.TransactionAction{Type: qapi.TransactionActionKindBlockdevSnapshot,
			Data: qapi.BlockdevSnapshotArgs{Node: d.active.node, Overlay: layerNode(d.disk.Name, d.layer)}})
	}
	undo.Switching = true
	if err := op.keeper.begin(ctx, rec, Creating, undo); err != nil {
		return err
	}
	_, err := op.whileFrozen(ctx, func(ctx context.Context) error {
		op.keeper.step(ctx, "switch")
		return qapi.Transaction(ctx, conn, actions, nil)
	})
	if err != nil {
		return err
	}
	return op.covered(context.WithoutCancel(ctx), rec)
}

// overlayNode describes the node of an overlay, which works as the disk's present one does.
func (op *operation) overlayNode(d diskToCover) qapi.BlockdevOptions {
	node, off := layerNode(d.disk.Name, d.layer), qapi.BlockdevDiscardOptions(vm.DiscardUnmap)
	props := map[string]any{}
	for i, c := range op.inst.Config.Disks {
		if c.NameAt(i) != d.disk.Name {
			continue
		}
		if c.Discard != "" {
			off = qapi.BlockdevDiscardOptions(c.Discard)
		}
		if c.AIO != "" {
			props["aio"] = c.AIO
		}
	}
	var cache *qapi.BlockdevCacheOptions // nil where QEMU's own defaults are: it refuses an empty one
	if d.active.cache.Direct || d.active.cache.NoFlush {
		cache = &qapi.BlockdevCacheOptions{Direct: d.active.cache.Direct, NoFlush: d.active.cache.NoFlush}
	}
	return qapi.BlockdevOptions{Driver: qapi.BlockdevDriverQcow2, NodeName: node, Discard: off, Cache: cache, Backing: &qapi.BlockdevRef{},
		File: &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, NodeName: fileOf(node), Filename: d.layer,
			Discard: off, Cache: cache, Props: props}}}
}

// fileOf is the name of the node below a layer's.
func fileOf(node string) string { return node + "-f" }

// covered records that the guest writes to the overlays, and with it that the snapshot exists.
func (op *operation) covered(ctx context.Context, rec *Record) error {
	op.keeper.step(ctx, "stand on it")
	if err := op.keeper.coveredBy(ctx, op.r, rec); err != nil {
		return err
	}
	return op.keeper.end(ctx, rec)
}

// coveredBy records that the overlays of a snapshot are where its disks are written.
func (k *Keeper) coveredBy(ctx context.Context, r *vm.Reservation, rec *Record) error {
	originals := r.Originals()
	return r.Update(ctx, func(i *vm.Instance) {
		for _, d := range rec.Disks {
			setImage(i, originals, d.Name, d.Layer, vm.FormatQcow2)
		}
		i.Snapshot = rec.Name
	})
}

// uncover undoes a snapshot that failed or was given up, or finishes it if QEMU has switched:
// then cause is nothing that its caller need know.
func (op *operation) uncover(ctx context.Context, rec *Record, cause error) error {
	if err := op.mendNow(ctx, rec); err != nil {
		op.log.WarnContext(ctx, "failed snapshot is not undone yet", "vm", op.inst.Name, "snapshot", rec.Name, "error", err)
		return errors.Join(cause, err)
	}
	records, err := op.keeper.records.Snapshots(context.WithoutCancel(ctx), op.inst.ID)
	if err != nil {
		return errors.Join(cause, err)
	}
	for _, r := range records {
		if r.Name == rec.Name && r.Pending == "" {
			return nil
		}
	}
	return cause
}

// leave has the guest run or paused, as it was asked.
func (op *operation) leave(ctx context.Context, conn qmp.Conn) error {
	ctx, cancel := op.keeper.outlive(ctx)
	defer cancel()
	switch op.after {
	case thenRunning:
		return qapi.Cont(ctx, conn)
	case thenPaused:
		return qapi.Stop(ctx, conn)
	}
	return nil
}
