package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// createInternal makes a snapshot on all disks of a VM that is not live, or on none.
func (k *Keeper) createInternal(ctx context.Context, r *vm.Reservation, rec *Record) error {
	return errors.New("not there yet")
}

// loadInternal loads an internal snapshot, with or without memory, into the disks of a VM
// that is not live.
func (op *operation) loadInternal(ctx context.Context, rec *Record) error {
	return errors.New("not there yet")
}

// deleteInternal deletes an internal snapshot from the disks of a VM that is not live.
func (k *Keeper) deleteInternal(ctx context.Context, r *vm.Reservation, rec *Record) error {
	return errors.New("not there yet")
}

// recoverInternal finishes or undoes an operation on an internal snapshot, of a VM that is
// not live.
func (k *Keeper) recoverInternal(ctx context.Context, r *vm.Reservation, rec *Record) error {
	return errors.New("not there yet")
}
