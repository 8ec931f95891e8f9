package snapshot

import (
	"context"

	"github.com/maqet/maqet/vm"
)

// recoverInternal finishes or undoes an operation on an internal snapshot, of a VM that is
// not live. What a live VM's guest had begun is taken for what its images hold of it.
func (k *Keeper) recoverInternal(ctx context.Context, r *vm.Reservation, rec *Record) error {
	switch rec.Pending {
	case Creating:
		whole, err := k.whole(ctx, rec)
		if err != nil {
			return err
		}
		if !whole {
			return k.undoCreate(ctx, r, rec)
		}
		if err := k.mend(ctx, r, rec); err != nil {
			return err
		}
		return k.finishCreate(ctx, r, rec)
	case Loading:
		return k.recoverLoad(ctx, r, rec)
	case Deleting:
		if err := k.purge(ctx, r, "deleting: disk ", rec); err != nil {
			return err
		}
		return k.finishDelete(ctx, r, rec)
	}
	return k.end(ctx, rec) // nothing else is done with such a snapshot
}

// whole reports whether a snapshot is on all of its disks, with its memory if it has one. It
// fills in what is known of the memory only afterwards.
func (k *Keeper) whole(ctx context.Context, rec *Record) (bool, error) {
	for _, d := range rec.Disks {
		held, there, err := k.held(ctx, d.Path, rec.Name)
		if err != nil || !there {
			return false, err
		}
		if d.Name != rec.Vmstate {
			continue
		}
		if held.Memory == 0 {
			return false, nil
		}
		rec.Size, rec.VMClock = held.Memory, held.VMClock
	}
	return len(rec.Disks) > 0, nil
}
