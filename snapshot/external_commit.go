package snapshot

import (
	"context"
	"slices"
	"strconv"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// Commit merges all that was written since an external snapshot into the images that it kept,
// be they a user's own. The snapshot is gone then, and with it the external ones that were made
// after it and that the disks stand on. The guest of a live VM goes on meanwhile; for the last
// moment of each disk its CPUs are halted.
//
// Errors: errors.ErrSnapshotNotFound; errors.ErrSnapshotBlocked when something else stands on
// the images, or an internal snapshot would go with a layer. When ctx ends, or a disk fails, the
// VM is as it was, but what the snapshot kept is not: it is Unfinished, can only be committed,
// and the next operation on the VM's snapshots, or its next start, tries to do that first.
func (c *Coordinator) Commit(ctx context.Context, ref, name string, opts ...Option) error {
	return c.onExternal(ctx, "commit snapshot ", ref, name, opts, func(ctx context.Context, op *operation, rec *Record) error {
		return op.merge(ctx, rec, true)
	})
}

// onExternal runs an operation on an external snapshot.
func (c *Coordinator) onExternal(ctx context.Context, what, ref, name string, opts []Option,
	fn func(ctx context.Context, op *operation, rec *Record) error) error {
	ctx, op, err := c.begin(ctx, onMerge, what+strconv.Quote(name), ref, opts)
	if err != nil {
		return err
	}
	_, err = work(ctx, op, func(ctx context.Context) (struct{}, error) {
		rec, err := op.find(name)
		if err == nil && rec.Kind != External {
			err = &errors.Error{Kind: errors.ErrInvalidConfiguration, Msg: "it is " + string(rec.Kind) + ", and not an external snapshot",
				Hint: "use Load or Delete"}
		}
		if err == nil {
			err = fn(ctx, op, rec)
		}
		if blocked := (*BlockedError)(nil); err == nil || errors.Is(err, errors.ErrSnapshotNotFound) || errors.As(err, &blocked) {
			return struct{}{}, err // which says already what was attempted
		}
		return struct{}{}, errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
	})
	return err
}

// commit merges what was written between an external snapshot and the next into the images
// that it kept.
func (op *operation) commit(ctx context.Context, rec *Record) error { return op.merge(ctx, rec, false) }

// merge is commit, or with all merges what was written up to now.
func (op *operation) merge(ctx context.Context, rec *Record, all bool) error {
	if rec.Pending == Committing { // a commit of all can have been begun, and can't be made less
		begun, err := rec.externalUndo()
		if err != nil {
			return err
		}
		all = all || begun.Forget
	}
	undo, err := op.planMerge(ctx, rec, all)
	if err != nil {
		return err
	}
	if err := op.keeper.begin(ctx, rec, Committing, undo); err != nil {
		return err
	}
	return op.mergeAll(ctx, rec, undo)
}

// planMerge says what is to be merged, and what stands in the way.
func (op *operation) planMerge(ctx context.Context, rec *Record, all bool) (undo externalUndo, err error) {
	stacks, err := op.keeper.stacks(ctx, op.r, rec)
	if err != nil {
		return undo, err
	}
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	for _, s := range stacks {
		merged := s.above()
		if len(merged) == 0 { // on another branch, which only the snapshot needs
			undo.Discard = append(undo.Discard, s.kept.Path)
			continue
		}
		if !all {
			merged = merged[len(merged)-1:]
		}
		undo.Merges = append(undo.Merges, merge{Disk: s.disk, Merged: merged, Base: s.chain[s.at].Path, Format: s.chain[s.at].Format})
		undo.Discard = append(undo.Discard, merged...)
		written := append(slices.Clone(merged[1:]), s.chain[s.at].Path)
		for _, look := range []func() ([]Blocker, error){
			func() ([]Blocker, error) { return op.branches(ctx, s, written) },
			func() ([]Blocker, error) { return op.holdsSnapshots(ctx, s.disk, merged) },
		} {
			found, err := look()
			if err != nil {
				return undo, err
			}
			blocked.Blockers = append(blocked.Blockers, found...)
		}
	}
	if len(blocked.Blockers) > 0 {
		return undo, blocked
	}
	undo.Forget = all
	return undo, nil
}

// mergeAll merges disk after disk, and forgets the snapshot. It can be done again.
func (op *operation) mergeAll(ctx context.Context, rec *Record, undo externalUndo) error {
	if !op.r.Instance().State.Live() {
		return op.keeper.mergeFiles(ctx, op.r, rec, undo)
	}
	guest, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return err
	}
	for i, m := range undo.Merges {
		if err := op.mergeLive(ctx, guest.QMP(), rec, undo, i); err != nil {
			return errors.Wrap(errors.ErrSnapshot, "merge disk "+m.Disk, "", err)
		}
	}
	return op.keeper.merged(context.WithoutCancel(ctx), op.r, rec, undo)
}

// mergeLive merges one disk of a live guest: by a job of QEMU that ends by itself, or, for the
// images that the guest writes to, is ended once it has caught up.
func (op *operation) mergeLive(ctx context.Context, conn qmp.Conn, rec *Record, undo externalUndo, at int) error {
	m := undo.Merges[at]
	graph, err := graphOf(ctx, conn)
	if err != nil {
		return err
	}
	chain := graph.chain(m.Disk)
	top := slices.IndexFunc(chain, func(img openImage) bool { return slices.Contains(m.Merged, img.path) })
	if top < 0 { // done before, and perhaps not all that comes after
		return op.mergedLive(ctx, conn, rec, undo, m, true)
	}
	base, err := graph.find(m.Disk, m.Base)
	if err != nil {
		return err
	}
	root, _ := graph.root(m.Disk)
	keep, id := false, jobID(rec, "commit-"+strconv.Itoa(at))
	args := qapi.BlockCommitArgs{JobID: id, Device: graph.names[root], TopNode: chain[top].node, BaseNode: base.node, AutoDismiss: &keep}
	if top > 0 {
		args.BackingFile = m.Base
	}
	run := jobs{conn: conn, ids: []string{id}, step: "commit " + m.Disk, tell: op.progress, start: func(ctx context.Context) error {
		op.keeper.step(ctx, "commit "+m.Disk)
		return qapi.BlockCommit(ctx, conn, args)
	}}
	if top == 0 {
		run.ready = func(ctx context.Context, id string) error { return op.pivot(ctx, conn, rec, undo, id) }
	}
	err = run.follow(ctx)
	ctx, cancel := op.keeper.outlive(ctx)
	defer cancel()
	return errors.Join(err, op.mergedLive(ctx, conn, rec, undo, m, err == nil))
}

// pivot has a job that has caught up end. The guest's CPUs are halted before, and until it is
// recorded on which image its disk is: when we and QEMU die in between, either image holds all
// that the guest wrote.
func (op *operation) pivot(ctx context.Context, conn qmp.Conn, rec *Record, undo externalUndo, id string) error {
	status, err := qapi.QueryStatus(ctx, conn)
	if err != nil {
		return err
	}
	if status.Running {
		undo.Halted = true
		if err := op.keeper.begin(ctx, rec, Committing, undo); err != nil {
			return err
		}
		op.keeper.step(ctx, "halt")
		if err := qapi.Stop(ctx, conn); err != nil {
			return err
		}
	}
	op.keeper.step(ctx, "pivot")
	return qapi.JobComplete(ctx, conn, id)
}

// mergedLive records where a disk is written after its job has ended, removes the nodes of what
// went away, and lets the guest go on if it was halted.
func (op *operation) mergedLive(ctx context.Context, conn qmp.Conn, rec *Record, undo externalUndo, m merge, done bool) error {
	var errs []error
	if done {
		graph, err := graphOf(ctx, conn)
		if err == nil {
			err = op.standOn(ctx, graph, m)
		}
		errs = append(errs, err)
	}
	errs = append(errs, op.unhalt(ctx, conn, rec, undo))
	if done && errors.Join(errs...) == nil {
		errs = append(errs, op.dropNodes(ctx, conn, m.Disk, m.Merged))
	}
	return errors.Join(errs...)
}

// unhalt lets a guest run that was halted for a pivot.
func (op *operation) unhalt(ctx context.Context, conn qmp.Conn, rec *Record, undo externalUndo) error {
	now, err := rec.externalUndo()
	if err != nil || !now.Halted {
		return err
	}
	op.keeper.step(ctx, "continue")
	if err := qapi.Cont(ctx, conn); err != nil {
		return err
	}
	undo.Halted = false
	return op.keeper.begin(ctx, rec, rec.Pending, undo)
}

// standOn records on which image a disk of a live guest is, and what the image above the ones
// that were merged stands on.
func (op *operation) standOn(ctx context.Context, graph *blockGraph, m merge) error {
	chain := graph.chain(m.Disk)
	if len(chain) == 0 { // it was taken out
		return nil
	}
	op.keeper.step(ctx, "stand on base "+m.Disk)
	if at := slices.IndexFunc(chain, func(img openImage) bool { return sameFile(img.path, m.Base) }); at > 0 {
		return op.keeper.images.Restacked(ctx, chain[at-1].path)
	}
	originals := op.r.Originals()
	return op.r.Update(ctx, func(i *vm.Instance) { setImage(i, originals, m.Disk, chain[0].path, chain[0].format) })
}

// dropNodes removes the nodes of images that are below no device any more. Those that QEMU made
// by itself, when it opened what an image stands on, go by themselves.
func (op *operation) dropNodes(ctx context.Context, conn qmp.Conn, disk string, paths []string) error {
	graph, err := graphOf(ctx, conn)
	if err != nil {
		return err
	}
	for _, path := range paths {
		for _, top := range []string{layerNode(disk, path), disk} {
			below, isFile := graph.named(top)
			if !isFile || !sameFile(below, path) {
				continue
			}
			for _, name := range []string{top, fileOf(top), disk + "-file"} {
				if at, there := graph.named(name); !there || !sameFile(at, path) {
					continue
				}
				if err := unlessRefused(qapi.BlockdevDel(ctx, conn, name)); err != nil { // a node inside another went with it
					return err
				}
			}
		}
	}
	return nil
}

// mergeFiles is mergeAll for a VM that is not live.
func (k *Keeper) mergeFiles(ctx context.Context, r *vm.Reservation, rec *Record, undo externalUndo) error {
	stacks, err := k.stacks(ctx, r, rec)
	if err != nil {
		return err
	}
	for _, s := range stacks {
		at := slices.IndexFunc(undo.Merges, func(m merge) bool { return m.Disk == s.disk })
		if at < 0 {
			continue
		}
		m := undo.Merges[at]
		top := slices.IndexFunc(s.above(), func(path string) bool { return slices.Contains(m.Merged, path) })
		if top < 0 {
			continue // done before
		}
		k.step(ctx, "commit "+m.Disk)
		if err := k.images.MergeDown(ctx, s.chain[top].Path, m.Base); err != nil {
			return err
		}
		k.step(ctx, "stand on base "+m.Disk)
		if top > 0 {
			err = k.images.Restack(ctx, s.chain[top-1].Path, m.Base, m.Format, false)
		} else {
			originals := r.Originals()
			err = r.Update(ctx, func(i *vm.Instance) { setImage(i, originals, m.Disk, m.Base, m.Format) })
		}
		if err != nil {
			return err
		}
	}
	return k.merged(context.WithoutCancel(ctx), r, rec, undo)
}

// merged records that a snapshot is gone after what it kept has been overwritten: the later ones
// are gone, too, or kept by the images into which theirs were merged. Then the layers go.
func (k *Keeper) merged(ctx context.Context, r *vm.Reservation, rec *Record, undo externalUndo) error {
	records, err := k.records.Snapshots(ctx, rec.VM)
	if err != nil {
		return err
	}
	for i := range records {
		later := &records[i]
		moved := false
		for n := range later.Disks {
			d := &later.Disks[n]
			for _, m := range undo.Merges {
				if later.Kind == External && later.Name != rec.Name && m.Disk == d.Name && slices.Contains(m.Merged, d.Path) {
					d.Path, d.Format, moved = m.Base, m.Format, true
				}
			}
		}
		switch {
		case !moved:
		case undo.Forget:
			err = k.forgetExternal(ctx, r, later)
		default:
			k.step(ctx, "move "+later.Name)
			err = k.records.PutSnapshot(ctx, *later)
		}
		if err != nil {
			return err
		}
	}
	if err := k.discard(ctx, r, rec, undo.Discard); err != nil {
		return err
	}
	return k.forgetExternal(ctx, r, rec)
}

// forgetExternal records that a snapshot is gone.
func (k *Keeper) forgetExternal(ctx context.Context, r *vm.Reservation, rec *Record) error {
	if err := k.reparent(ctx, r, rec); err != nil {
		return err
	}
	return k.drop(ctx, rec)
}
