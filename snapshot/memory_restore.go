package snapshot

import (
	"context"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// Restore implements vm.Snapshots.
func (k *Keeper) Restore(ctx context.Context, inst vm.Instance, guest vm.Guest) error {
	op := "restore snapshot " + inst.Restore
	rec, err := k.restorable(ctx, inst)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, op, inst.Name, err)
	}
	conn := guest.QMP()
	version, err := versionOf(ctx, conn)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, op, inst.Name, err)
	}
	blocked := &BlockedError{Op: op, VM: inst.Name, Blockers: misfits(rec, inst, version)}
	if err := blocked.orNil(); err != nil {
		return err
	}
	names, err := k.open(ctx, conn, rec, false)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, op, inst.Name, err)
	}
	k.step(ctx, "restore: start job")
	id := vm.LoadJob + uuid.NewString()
	err = jobs{conn: conn, ids: []string{id}, leave: true, start: func(ctx context.Context) error {
		return qapi.SnapshotLoad(ctx, conn, qapi.SnapshotLoadArgs{JobID: id, Tag: rec.Name, Vmstate: names[0], Devices: names})
	}}.follow(ctx)
	return errors.Wrap(errors.ErrSnapshot, op, inst.Name, err)
}

// restorable returns the record of the snapshot that a start continues from.
func (k *Keeper) restorable(ctx context.Context, inst vm.Instance) (*Record, error) {
	records, err := k.records.Snapshots(ctx, inst.ID)
	if err != nil {
		return nil, err
	}
	for i := range records {
		if records[i].Name == inst.Restore && records[i].Kind == Memory {
			return &records[i], nil
		}
	}
	return nil, &errors.Error{Kind: errors.ErrSnapshotNotFound, Msg: "the VM has no snapshot of that name with memory",
		Hint: "start it by vm.ColdBoot"}
}
