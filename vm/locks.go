package vm

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/maqet/maqet/internal/flock"
)

// locks guards operations on a VM across processes: one file per ID, which
// goes with the VM's record.
type locks struct{ dir string }

func (l locks) path(id string) string { return filepath.Join(l.dir, id+".lock") }

// try takes the lock or fails with flock.ErrLocked.
func (l locks) try(id string) (*flock.Lock, error) { return flock.Try(l.path(id)) }

// wait takes the lock when it is free, or ends with ctx.
func (l locks) wait(ctx context.Context, id string) (*flock.Lock, error) {
	return flock.Wait(ctx, l.path(id))
}

// leave releases a VM's lock, with its file when the record is gone. One that can't be
// removed harms nobody.
func (l locks) leave(lock *flock.Lock, gone bool) {
	if gone {
		_ = lock.Remove()
	}
	_ = lock.Unlock()
}

func (m *Manager) backendNames() []string { return slices.Sorted(maps.Keys(m.backends)) }
