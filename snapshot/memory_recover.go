package snapshot

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// recoverMemory finishes or undoes an operation on an internal snapshot, of a live VM: who
// began it has died, but QEMU may have gone on.
func (op *operation) recoverMemory(ctx context.Context, rec *Record) error {
	conn, err := op.connect(ctx)
	if err != nil {
		return err
	}
	undo := memoryUndo{}
	if len(rec.Undo) > 0 {
		if err := json.Unmarshal(rec.Undo, &undo); err != nil {
			return errors.Wrap(errors.ErrSnapshot, "read what is recorded", op.inst.Name, err)
		}
	}
	found, failure, err := op.finishJobs(ctx, conn, rec)
	if err != nil {
		return err
	}
	switch rec.Pending {
	case Creating:
		err = op.recoverSave(ctx, conn, rec, undo)
	case Deleting:
		err = op.unsave(ctx, conn, rec, undo)
	case Loading:
		err = op.recoverLoad(ctx, conn, rec, undo, found, failure)
	}
	if err != nil || !found {
		return err
	}
	list, err := left(ctx, conn, rec)
	for _, job := range list {
		err = errors.Join(err, dismiss(ctx, conn, job.ID))
	}
	return err
}

// finishJobs waits for the snapshot's jobs that are in QEMU's list, and reports whether there
// are any, and how they failed.
func (op *operation) finishJobs(ctx context.Context, conn qmp.Conn, rec *Record) (found bool, failure, err error) {
	list, err := left(ctx, conn, rec)
	if err != nil || len(list) == 0 {
		return false, nil, err
	}
	var ids []string
	for _, job := range list {
		ids = append(ids, job.ID)
	}
	err = jobs{conn: conn, ids: ids, keep: true, leave: true}.follow(ctx)
	var failed *errors.QMPError
	if errors.As(err, &failed) {
		return true, err, nil
	}
	return true, nil, err
}

// recoverSave keeps a snapshot that is whole, and deletes what is there of another.
func (op *operation) recoverSave(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo) error {
	whole, err := describe(ctx, conn, rec)
	if err != nil {
		return err
	}
	if !whole {
		return op.unsave(ctx, conn, rec, undo)
	}
	if err := op.goOn(ctx, conn, undo); err != nil {
		return err
	}
	return op.saved(ctx, conn, rec)
}

// goOn has the guest run if it did before an operation that paused it.
func (op *operation) goOn(ctx context.Context, conn qmp.Conn, undo memoryUndo) error {
	if !undo.Ran {
		return nil
	}
	return qapi.Cont(ctx, conn)
}

// recoverLoad finishes a load that QEMU has made, or gives up one that it did not begin.
func (op *operation) recoverLoad(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo, found bool, failure error) error {
	switch {
	case !found:
		return op.stay(ctx, conn, rec, undo)
	case failure != nil:
		op.log.WarnContext(ctx, "interrupted load had failed, the guest is ended", "vm", op.inst.Name, "snapshot", rec.Name, "error", failure)
		return op.broken(ctx, rec, failure)
	}
	return op.loaded(ctx, conn, rec, undo)
}
