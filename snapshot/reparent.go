package snapshot

import (
	"context"

	"github.com/maqet/maqet/vm"
)

// reparent gives the children of a snapshot that is about to be forgotten to its parent, and
// has the VM stand on the parent if it stood on the snapshot. It can be done again.
func (k *Keeper) reparent(ctx context.Context, r *vm.Reservation, rec *Record) error {
	records, err := k.records.Snapshots(ctx, rec.VM)
	if err != nil {
		return err
	}
	for _, child := range records {
		if child.Parent != rec.Name || child.Name == rec.Name {
			continue
		}
		child.Parent = rec.Parent
		if err := k.records.PutSnapshot(ctx, child); err != nil {
			return err
		}
	}
	inst := r.Instance()
	if inst.Snapshot != rec.Name && inst.Restore != rec.Name {
		return nil
	}
	return r.Update(ctx, func(i *vm.Instance) {
		if i.Snapshot == rec.Name {
			i.Snapshot = rec.Parent
		}
		if i.Restore == rec.Name { // it has no memory to continue from any more
			i.Restore = ""
		}
	})
}
