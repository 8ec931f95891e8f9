package snapshot

import (
	"context"
	"reflect"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// List returns the snapshots of a VM in the order in which they were made: what is recorded of
// them, compared with what the images hold at this moment. Those that somebody else made in the
// images, such as by "qemu-img snapshot -c" or QEMU's savevm, are [Foreign]; those that have
// vanished from them are [Partial] or [Missing]; those that an operation is about to make or
// delete are [Unfinished].
//
// It reads the records and the images themselves, and asks no QEMU: it waits for nobody, also
// not for an operation that is under way, in this or another process. The snapshots of a VM
// whose backend is a vm.Snapshotter are what that says, without looking at images.
//
// Errors: what vm.Manager.Get says of ref; errors.ErrDatabase; errors.ErrStorage for an image
// that is there and can't be read.
func (c *Coordinator) List(ctx context.Context, ref string) ([]Snapshot, error) {
	inst, err := c.vms.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	backend, err := c.vms.Snapshotter(inst)
	if err != nil && inst.State != vm.Created { // such a VM need not be on any backend, and has none
		return nil, err
	}
	var list []Snapshot
	if backend != nil {
		list, err = c.listOfBackend(ctx, backend, inst)
	} else {
		list, err = c.list(ctx, inst.ID)
	}
	return list, errors.Wrap(errors.ErrSnapshot, "list snapshots", inst.Name, err)
}

// listTries is how often records that change while the images are read are read again.
const listTries = 10

// list looks until the records are after it what they were before: an operation that began
// and ended in between would make a snapshot look foreign, or missing.
func (c *Coordinator) list(ctx context.Context, id string) (list []Snapshot, err error) {
	var inst vm.Instance
	var before, after []Record
	if before, err = c.keeper.records.Snapshots(ctx, id); err != nil {
		return nil, err
	}
	for range listTries {
		if inst, err = c.vms.Get(ctx, id); err != nil {
			return nil, err
		}
		held, err := c.look(ctx, inst, before)
		if err != nil {
			return nil, err
		}
		list = reconcile(inst, before, held)
		if after, err = c.keeper.records.Snapshots(ctx, id); err != nil {
			return nil, err
		}
		if reflect.DeepEqual(before, after) {
			break
		}
		before = after
	}
	return list, nil
}

// shown returns a snapshot as List shows it.
func (op *operation) shown(ctx context.Context, name string) (Snapshot, error) {
	list, err := op.List(ctx, op.inst.ID)
	if err != nil {
		return Snapshot{}, errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
	}
	if i := slices.IndexFunc(list, func(s Snapshot) bool { return s.Name == name }); i >= 0 {
		return list[i], nil
	}
	return Snapshot{}, &errors.Error{Kind: errors.ErrSnapshotNotFound, Op: op.what, VM: op.inst.Name,
		Msg: "it was made, and is gone again"}
}
