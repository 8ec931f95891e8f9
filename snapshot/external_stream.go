package snapshot

import (
	"context"
	"strconv"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Stream copies what the images that an external snapshot kept hold into the layers above them,
// which then stand without them. The snapshot is gone; its images are deleted if maqet made them
// and nothing else needs them, and a user's own stay as they were when it was made.
//
// Errors: errors.ErrSnapshotNotFound; errors.ErrSnapshotBlocked when an internal snapshot would
// go with the images. When ctx ends, or a disk fails, the snapshot is whole.
func (c *Coordinator) Stream(ctx context.Context, ref, name string, opts ...Option) error {
	return c.onExternal(ctx, "stream snapshot ", ref, name, opts, func(ctx context.Context, op *operation, rec *Record) error {
		return op.stream(ctx, rec)
	})
}

func (op *operation) stream(ctx context.Context, rec *Record) error {
	stacks, err := op.keeper.stacks(ctx, op.r, rec)
	if err != nil {
		return err
	}
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	var undo externalUndo
	for _, s := range stacks {
		found, err := op.holdsSnapshots(ctx, s.disk, op.keeper.qcow2Only(s))
		if err != nil {
			return err
		}
		blocked.Blockers = append(blocked.Blockers, found...)
		if rec.Pending == Committing { // the journal of which would be lost
			blocked.add(s.disk, "has begun to be merged into what the snapshot kept", "finish the commit instead")
		}
		undo.Discard = append(undo.Discard, s.kept.Path)
	}
	if len(blocked.Blockers) > 0 {
		return blocked
	}
	if err := op.keeper.begin(ctx, rec, Streaming, undo); err != nil {
		return err
	}
	for i, s := range stacks {
		if s.at < 1 {
			continue // on another branch
		}
		if err := op.pull(ctx, rec, s, i); err != nil {
			return errors.Join(errors.Wrap(errors.ErrSnapshot, "stream disk "+s.disk, "", err),
				op.keeper.end(context.WithoutCancel(ctx), rec)) // what it kept is as it was
		}
	}
	ctx, undo.Forget = context.WithoutCancel(ctx), true
	if err := op.keeper.begin(ctx, rec, Streaming, undo); err != nil {
		return err
	}
	return op.keeper.streamed(ctx, op.r, rec, undo)
}

// streamed forgets a snapshot whose images nothing stands on any more; before that was so, it is
// whole.
func (k *Keeper) streamed(ctx context.Context, r *vm.Reservation, rec *Record, undo externalUndo) error {
	if !undo.Forget {
		return k.end(ctx, rec)
	}
	if err := k.discard(ctx, r, rec, undo.Discard); err != nil {
		return err
	}
	return k.forgetExternal(ctx, r, rec)
}

// qcow2Only returns the image that a snapshot kept of a disk, if that can hold others.
func (k *Keeper) qcow2Only(s stack) []string {
	if s.kept.Format != storage.FormatQcow2 {
		return nil
	}
	return []string{s.kept.Path}
}

// pull copies what the image that was kept of a disk holds into the one above.
func (op *operation) pull(ctx context.Context, rec *Record, s stack, at int) error {
	kept, above := s.chain[s.at], s.chain[s.at-1]
	if !op.r.Instance().State.Live() {
		op.keeper.step(ctx, "stream "+s.disk)
		return op.keeper.images.Restack(ctx, above.Path, kept.Base, kept.BaseFormat, true)
	}
	guest, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return err
	}
	conn := guest.QMP()
	graph, err := graphOf(ctx, conn)
	if err != nil {
		return err
	}
	to, err := graph.find(s.disk, above.Path)
	if err != nil {
		return err
	}
	keep, id := false, jobID(rec, "stream-"+strconv.Itoa(at))
	args := qapi.BlockStreamArgs{JobID: id, Device: to.node, AutoDismiss: &keep}
	if kept.Base != "" {
		base, err := graph.find(s.disk, kept.Base)
		if err != nil {
			return err
		}
		args.BaseNode, args.BackingFile = base.node, kept.Base
	}
	err = jobs{conn: conn, ids: []string{id}, step: "stream " + s.disk, tell: op.progress, start: func(ctx context.Context) error {
		op.keeper.step(ctx, "stream "+s.disk)
		return qapi.BlockStream(ctx, conn, args)
	}}.follow(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := op.keeper.outlive(ctx)
	defer cancel()
	if err := op.keeper.images.Restacked(ctx, above.Path); err != nil {
		return err
	}
	return op.dropNodes(ctx, conn, s.disk, []string{kept.Path})
}
