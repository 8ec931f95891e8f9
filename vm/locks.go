package vm

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/maqet/maqet/internal/flock"
)

// locks guards operations on a VM across processes: one file per ID, never
// unlinked, because a file that is unlinked while somebody waits for it would let
// two in.
type locks struct{ dir string }

func (l locks) path(id string) string { return filepath.Join(l.dir, id+".lock") }

// try takes the lock or fails with flock.ErrLocked.
func (l locks) try(id string) (*flock.Lock, error) { return flock.Try(l.path(id)) }

// wait takes the lock when it is free, or ends with ctx.
func (l locks) wait(ctx context.Context, id string) (*flock.Lock, error) {
	return flock.Wait(ctx, l.path(id))
}

func (m *Manager) backendNames() []string { return slices.Sorted(maps.Keys(m.backends)) }
