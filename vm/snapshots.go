package vm

import (
	"context"
	"strings"

	"github.com/maqet/maqet/errors"
)

// Snapshots is what a start needs of package snapshot, whose Keeper implements it.
type Snapshots interface {
	// Recover finishes or undoes what an operation on snapshots that died has left in the
	// images of the reserved VM, which is not live. It is called before each start, with the
	// VM's lock held, and does nothing when there is nothing to mend.
	Recover(ctx context.Context, r *Reservation) error
	// Restore loads the memory of the snapshot that inst.Restore names, and its disks, into a
	// guest whose devices are made and whose CPUs have not run. It leaves them halted.
	Restore(ctx context.Context, inst Instance, guest Guest) error
}

// LoadJob begins the ids of the jobs of QEMU by which maqet loads memory into a guest; see
// [IsLoadJob].
const LoadJob = "maqet-load-"

// IsLoadJob reports whether a job of QEMU with that id brings a guest back to an earlier moment
// (event JOB_STATUS_CHANGE).
func IsLoadJob(id string) bool { return strings.HasPrefix(id, LoadJob) }

// recover mends what an operation on the VM's images that died has left.
func (s *start) recover(ctx context.Context) error {
	r := &Reservation{m: s.m, ctx: ctx, lock: s.lock, inst: s.inst}
	if own, ok := s.backend.(Snapshotter); ok {
		err := r.TakeLayers(ctx, own)
		s.inst = r.Instance()
		return err
	}
	if s.m.snaps == nil {
		return nil
	}
	err := s.m.snaps.Recover(ctx, r)
	s.inst = r.Instance() // with what recovering has recorded
	return err
}

// restoreFrom names the snapshot that the backend starts the guest from by itself.
func (s *start) restoreFrom() string {
	if _, ok := s.backend.(Snapshotter); !ok || s.opts.cold {
		return ""
	}
	return s.inst.Restore
}

// restore lets the guest continue from a snapshot's memory.
func (s *start) restore(ctx context.Context) (func(context.Context) error, error) {
	if s.spec.Restore != "" {
		return nil, nil // it does already
	}
	if s.m.snaps == nil {
		return nil, &errors.Error{Kind: errors.ErrSnapshot, Op: "restore snapshot", VM: s.inst.Name,
			Msg: "this manager has no snapshots", Hint: "give vm.Options.Snapshots, or start by vm.ColdBoot"}
	}
	s.live.halted.Store(true) // until it continues: memory can take long to load
	ctx, stop := s.live.guard(ctx)
	defer stop()
	return nil, causeOf(ctx, s.m.snaps.Restore(ctx, s.inst, s.live.guest))
}
