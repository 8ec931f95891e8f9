package snapshot

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// List returns the snapshots of a VM, in the order in which they were made. It waits for
// nobody: while an operation is under way, in any process, it says what is there then.
//
// Errors: what vm.Manager.Get says of ref; errors.ErrDatabase; errors.ErrStorage for an image
// that is there and can't be read.
func (c *Coordinator) List(ctx context.Context, ref string) ([]Snapshot, error) {
	inst, err := c.vms.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return c.list(ctx, inst)
}

func (c *Coordinator) list(ctx context.Context, inst vm.Instance) ([]Snapshot, error) {
	records, err := c.keeper.records.Snapshots(ctx, inst.ID)
	if err != nil {
		return nil, err
	}
	var list []Snapshot
	for _, rec := range records {
		if rec.Pending != Creating {
			list = append(list, rec.snapshot(inst))
		}
	}
	slices.SortStableFunc(list, func(a, b Snapshot) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return list, nil
}

// shown returns a snapshot as List shows it.
func (op *operation) shown(ctx context.Context, name string) (Snapshot, error) {
	list, err := op.list(ctx, op.r.Instance())
	if err != nil {
		return Snapshot{}, errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
	}
	if i := slices.IndexFunc(list, func(s Snapshot) bool { return s.Name == name }); i >= 0 {
		return list[i], nil
	}
	return Snapshot{}, &errors.Error{Kind: errors.ErrSnapshotNotFound, Op: op.what, VM: op.inst.Name,
		Msg: "it was made, and is gone again"}
}

// snapshot is the record of a snapshot as List shows it.
func (rec *Record) snapshot(inst vm.Instance) Snapshot {
	s := Snapshot{Name: rec.Name, ID: rec.ID, Kind: rec.Kind, Status: OK, Created: rec.Created, Description: rec.Description,
		Parent: rec.Parent, Current: rec.Name == inst.Snapshot, VMClock: rec.VMClock, Memory: rec.Vmstate != "", Size: rec.Size}
	for _, d := range rec.Disks {
		s.Disks = append(s.Disks, Disk{Name: d.Name, Path: d.Path, Present: true})
	}
	return s
}
