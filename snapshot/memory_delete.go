package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// deleteMemory deletes an internal snapshot, with or without memory, of a live VM. From the
// moment it has begun it is gone: when ctx ends, the deletion goes on in the background.
func (op *operation) deleteMemory(ctx context.Context, rec *Record) error {
	conn, err := op.connect(ctx)
	if err != nil {
		return err
	}
	if err := op.erasable(ctx, conn, rec); err != nil {
		return err
	}
	if err := op.keeper.begin(ctx, rec, Deleting, nil); err != nil {
		return err
	}
	ctx, cancel := op.keeper.outlive(ctx)
	defer cancel()
	if err := op.keeper.erase(ctx, conn, rec, op.progress); err != nil {
		return err
	}
	return op.forget(ctx, rec)
}

// erasable refuses a snapshot in an image that the guest does not write any more.
func (op *operation) erasable(ctx context.Context, conn qmp.Conn, rec *Record) error {
	list, err := nodesOf(ctx, conn)
	if err != nil {
		return err
	}
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	for _, d := range rec.Disks {
		if n, ok := list.holding(d.Path); ok && n.readOnly && n.snapshot(rec.Name) != nil {
			blocked.Blockers = append(blocked.Blockers, Blocker{d.Name, "is read only: " + d.Path + " is below an external snapshot",
				"commit that one first, or stop the VM"})
		}
	}
	if len(blocked.Blockers) > 0 {
		return blocked
	}
	return nil
}

// erase deletes an internal snapshot from all images of a live VM that have it, and makes sure
// that none has it then.
func (k *Keeper) erase(ctx context.Context, conn qmp.Conn, rec *Record, tell func(Progress)) error {
	names, err := k.holders(ctx, conn, rec)
	if err != nil || len(names) == 0 {
		return err
	}
	k.step(ctx, "delete: start job")
	id := jobID(rec, "delete")
	err = jobs{conn: conn, ids: []string{id}, step: "delete", tell: tell, start: func(ctx context.Context) error {
		return qapi.SnapshotDelete(ctx, conn, qapi.SnapshotDeleteArgs{JobID: id, Tag: rec.Name, Devices: names})
	}}.follow(ctx)
	if err != nil {
		return err
	}
	if names, err = k.holders(ctx, conn, rec); err == nil && len(names) > 0 {
		err = &errors.Error{Kind: errors.ErrSnapshot, Op: "delete snapshot " + rec.Name, Msg: "QEMU reports success, but an image has it still"}
	}
	return err
}

// holders returns the nodes of the images that hold a snapshot.
func (k *Keeper) holders(ctx context.Context, conn qmp.Conn, rec *Record) (names []string, err error) {
	list, err := nodesOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, d := range rec.Disks {
		n, ok := list.holding(d.Path)
		if !ok && d.Name == vmstateNode {
			there, err := k.keptVmstate(ctx, d.Path)
			if err == nil && there {
				err = k.openVmstate(ctx, conn, d.Path)
			}
			if err == nil {
				list, err = nodesOf(ctx, conn)
			}
			if err != nil {
				return nil, err
			}
			n, _ = list.holding(d.Path)
		}
		if n.snapshot(rec.Name) != nil {
			names = append(names, n.name)
		}
	}
	return names, nil
}
