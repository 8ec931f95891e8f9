package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// createMemory makes a snapshot of a live VM with its memory.
func (op *operation) createMemory(ctx context.Context, rec *Record) error {
	return errors.New("not there yet")
}

// loadMemory loads an internal snapshot into a live VM.
func (op *operation) loadMemory(ctx context.Context, rec *Record) error {
	return errors.New("not there yet")
}

// deleteMemory deletes an internal snapshot, with or without memory, of a live VM.
func (op *operation) deleteMemory(ctx context.Context, rec *Record) error {
	return errors.New("not there yet")
}

// recoverMemory finishes or undoes an operation on an internal snapshot, of a live VM.
func (op *operation) recoverMemory(ctx context.Context, rec *Record) error {
	return errors.New("not there yet")
}

// Restore implements vm.Snapshots.
func (k *Keeper) Restore(ctx context.Context, inst vm.Instance, guest vm.Guest) error {
	return errors.New("not there yet")
}
