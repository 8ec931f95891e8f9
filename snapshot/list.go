package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// List returns the snapshots of a VM.
func (c *Coordinator) List(ctx context.Context, ref string) ([]Snapshot, error) {
	return nil, errors.New("not there yet")
}

// shown returns a snapshot as List shows it.
func (op *operation) shown(ctx context.Context, name string) (Snapshot, error) {
	return Snapshot{}, errors.New("not there yet")
}
