package snapshot

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Create makes a snapshot of a VM: of a live one with its memory ([Memory]), or with
// [DiskOnly] an [External] one; of one that is not live an [Internal] one. The guest goes on
// as it was before. A VM whose backend is a vm.Snapshotter gets a snapshot of the backend's.
//
// Errors: errors.ErrSnapshotExists; errors.ErrSnapshotBlocked, a [*BlockedError] that names all
// that stands in the way, before anything is done; errors.ErrSnapshotCreation when it failed
// and nothing of it is left; what vm.Manager says of ref. When ctx ends, the snapshot is given
// up and undone.
func (c *Coordinator) Create(ctx context.Context, ref, name string, opts ...Option) (Snapshot, error) {
	what := "create snapshot " + strconv.Quote(name)
	if err := checkName(name); err != nil {
		what = "create snapshot " + strconv.Quote(name[:min(len(name), 64)]) // of which there may be much
		if inst, getErr := c.vms.Get(ctx, ref); getErr == nil {
			ref = inst.Name // which says more than an ID
		}
		return Snapshot{}, errors.Wrap(errors.ErrInvalidConfiguration, what, ref, err)
	}
	ctx, op, err := c.begin(ctx, onCreate, what, ref, opts)
	if err != nil {
		return Snapshot{}, err
	}
	return work(ctx, op, func(ctx context.Context) (Snapshot, error) { return op.create(ctx, name) })
}

func (op *operation) create(ctx context.Context, name string) (Snapshot, error) {
	if op.backend != nil {
		return op.createByBackend(ctx, name)
	}
	if err := op.absent(ctx, name); err != nil {
		return Snapshot{}, err
	}
	kind := op.kind(op.inst)
	if err := op.blocked(ctx, kind); err != nil {
		return Snapshot{}, err
	}
	rec := op.newRecord(name, kind)
	var err error
	switch kind {
	case Internal:
		err = op.keeper.createInternal(ctx, op.r, &rec)
	case Memory:
		err = op.createMemory(ctx, &rec)
	case External:
		err = op.createExternal(ctx, &rec)
	}
	if err != nil {
		return Snapshot{}, errors.Wrap(errors.ErrSnapshotCreation, op.what, op.inst.Name, err)
	}
	return op.shown(context.WithoutCancel(ctx), name) // which is there by now
}

// absent fails if there is a snapshot of that name, whoever made it.
func (op *operation) absent(ctx context.Context, name string) error {
	list, err := op.list(ctx, op.inst.ID)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
	}
	for _, s := range list {
		if s.Name != name {
			continue
		}
		e := &errors.Error{Kind: errors.ErrSnapshotExists, Op: op.what, VM: op.inst.Name, Hint: "choose another name, or delete that one"}
		if s.Status == Foreign {
			e.Msg = "maqet did not make it, but it is in " + s.Disks[0].Path
		}
		return e
	}
	return nil
}

// kind is what Create makes by its options and the VM's state.
func (o *options) kind(inst vm.Instance) Kind {
	switch {
	case !inst.State.Live():
		return Internal
	case o.diskOnly:
		return External
	}
	return Memory
}

// newRecord describes the VM as it is now. The disks are for who makes the snapshot to fill in.
func (op *operation) newRecord(name string, kind Kind) Record {
	rec := Record{
		VM: op.inst.ID, Name: name, ID: uuid.NewString(), Kind: kind, Created: time.Now().UTC(),
		Description: op.description, Parent: op.inst.Snapshot,
		Config: op.inst.Config, Unplugged: op.inst.Unplugged, Machine: op.inst.Runtime.Machine, Accel: op.inst.Runtime.Accel,
	}
	rec.Plugged, _ = json.Marshal(op.inst.Plugged) // which came from JSON
	return rec
}
