package snapshot

import (
	"context"
	"strings"

	"github.com/maqet/maqet/errors"
)

// Blocker is something that stands in the way of a snapshot.
type Blocker struct {
	Device string `json:"device,omitempty"` // a disk, share or device of the VM; empty: none in particular
	Reason string `json:"reason"`
	Fix    string `json:"fix"`
}

// BlockedError says all that stands in the way of an operation. Nothing was done. It is
// errors.ErrSnapshotBlocked.
type BlockedError struct {
	Op, VM   string
	Blockers []Blocker
}

// Error names each device, what is wrong with it and what to do.
func (e *BlockedError) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": VM " + e.VM + ": blocked")
	for i, bl := range e.Blockers {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		if bl.Device != "" {
			b.WriteString(bl.Device + " ")
		}
		b.WriteString(bl.Reason + " (" + bl.Fix + ")")
	}
	return b.String()
}

// Unwrap returns errors.ErrSnapshotBlocked.
func (e *BlockedError) Unwrap() error { return errors.ErrSnapshotBlocked }

// blocked says what stands in the way of a new snapshot.
func (op *operation) blocked(ctx context.Context, kind Kind, name string) error {
	return nil
}
