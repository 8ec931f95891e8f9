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
	loaded, failure, err := op.finishJobs(ctx, conn, rec, undo)
	if err != nil {
		return err
	}
	switch rec.Pending {
	case Creating:
		return op.recoverSave(ctx, conn, rec, undo)
	case Loading:
		return op.recoverLoad(ctx, conn, rec, undo, loaded, failure)
	}
	return op.unsave(ctx, conn, rec, undo)
}

// finishJobs waits for the snapshot's jobs that are in QEMU's list, and dismisses all but the
// one that loads it: of that it reports whether it is there, and how it failed.
func (op *operation) finishJobs(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo) (loaded bool, failure, err error) {
	list, err := left(ctx, conn, rec, undo.Job)
	for _, job := range list {
		load := job.ID == undo.Job
		err := jobs{conn: conn, ids: []string{job.ID}, keep: load, leave: true}.follow(ctx)
		var failed *errors.QMPError
		switch {
		case err != nil && !errors.As(err, &failed):
			return false, nil, err
		case load:
			loaded, failure = true, err
		}
	}
	return loaded, failure, err
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
	if err := op.runOn(ctx, conn, undo); err != nil {
		return err
	}
	return op.saved(ctx, conn, rec)
}

// runOn has the guest run if it did before an operation that paused it.
func (op *operation) runOn(ctx context.Context, conn qmp.Conn, undo memoryUndo) error {
	if !undo.Ran {
		return nil
	}
	return qapi.Cont(ctx, conn)
}

// recoverLoad finishes a load that QEMU has made, or gives up one that it did not begin.
func (op *operation) recoverLoad(ctx context.Context, conn qmp.Conn, rec *Record, undo memoryUndo, loaded bool, failure error) error {
	switch {
	case !loaded:
		return op.stay(ctx, conn, rec, undo)
	case failure != nil:
		op.log.WarnContext(ctx, "interrupted load had failed, the guest is ended", "vm", op.inst.Name, "snapshot", rec.Name, "error", failure)
		return op.broken(ctx, rec, failure)
	}
	return op.loaded(ctx, conn, rec, undo)
}
