package vm_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestLockFilesGoWithTheRecord: a host that runs tests all day has one VM after the other,
// and none leaves a file.
func TestLockFilesGoWithTheRecord(t *testing.T) {
	b := newBench(t)
	left := func() []os.DirEntry {
		entries, err := os.ReadDir(filepath.Join(b.dir, "locks"))
		require.NoError(t, err)
		return entries
	}
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent})
	require.Len(t, left(), 1)
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Len(t, left(), 1, "it can be started again")
	require.NoError(t, b.Remove(t.Context(), inst.ID))
	require.Empty(t, left())

	// Those who wait for the lock of a VM that is removed meanwhile leave none, either.
	inst = b.start(t, vm.Config{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := b.Remove(t.Context(), inst.ID, vm.ForceRemove()); err != nil && !errors.Is(err, errors.ErrVMNotFound) {
				t.Error(err)
			}
		})
		all.Go(func() {
			if _, err := b.Stop(t.Context(), inst.ID); err != nil && !errors.Is(err, errors.ErrVMNotFound) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Empty(t, left())
}
