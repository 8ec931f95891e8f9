package vm_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestReserveExcludes: of several reservations of one VM, also by other managers, one holds.
func TestReserveExcludes(t *testing.T) {
	b := newBench(t)
	other := b.second(t)
	inst := b.add(t, vm.Config{})
	first, err := b.Reserve(t.Context(), inst.Name)
	require.NoError(t, err)

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = other.Reserve(short, inst.ID)
	require.ErrorIs(t, err, errors.ErrDatabaseLock)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	got := make(chan error, 1)
	go func() {
		second, err := other.Reserve(t.Context(), inst.ID)
		if err == nil {
			second.Release()
		}
		got <- err
	}()
	require.NoError(t, first.Update(t.Context(), func(i *vm.Instance) { i.Snapshot = "a" }))
	require.Equal(t, "a", first.Instance().Snapshot)
	select {
	case err := <-got:
		t.Fatal("two hold it", err)
	default:
	}
	first.Release()
	first.Release()
	require.NoError(t, <-got)
}

// TestReserveKeepsFromStarting: a VM that is not live stays so until the release.
func TestReserveKeepsFromStarting(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	r, err := b.Reserve(t.Context(), inst.ID)
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = b.Start(short, inst.ID)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	started := make(chan error, 1)
	go func() { _, err := b.Start(t.Context(), inst.ID); started <- err }()
	r.Release()
	require.NoError(t, <-started)

	// One that is live can be reserved, and stopped meanwhile; then it can be fenced.
	r, err = b.Reserve(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Running, r.Instance().State)
	fenced, err := r.Fence(t.Context())
	require.NoError(t, err)
	require.False(t, fenced, "it runs")
	_, err = b.Stop(t.Context(), inst.ID, vm.Force())
	require.NoError(t, err)
	fenced, err = r.Fence(t.Context())
	require.NoError(t, err)
	require.True(t, fenced)
	require.Equal(t, vm.Stopped, r.Instance().State)
	short, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = b.Start(short, inst.ID)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	r.Release()
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
}

// TestReserveOfNobody: a VM that is gone, or goes while it is waited for, leaves no lock file.
func TestReserveOfNobody(t *testing.T) {
	b := newBench(t)
	_, err := b.Reserve(t.Context(), "nobody")
	require.ErrorIs(t, err, errors.ErrVMNotFound)

	inst := b.add(t, vm.Config{})
	first, err := b.Reserve(t.Context(), inst.ID)
	require.NoError(t, err)
	removed, reserved := make(chan error, 1), make(chan error, 1)
	go func() { removed <- b.Remove(t.Context(), inst.ID) }()
	go func() {
		r, err := b.Reserve(t.Context(), inst.ID)
		if err == nil { // it was quicker than the removal
			r.Release()
		}
		reserved <- err
	}()
	first.Release()
	require.NoError(t, <-removed)
	if err := <-reserved; err != nil {
		require.ErrorIs(t, err, errors.ErrVMNotFound)
	}
	entries, err := os.ReadDir(filepath.Join(b.dir, "locks"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

// TestCloseWaitsForReservations, and tells their holders.
func TestCloseWaitsForReservations(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	r, err := b.Reserve(t.Context(), inst.ID)
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	<-r.Context().Done()
	select {
	case <-closed:
		t.Fatal("closed while a VM is reserved")
	case <-time.After(20 * time.Millisecond):
	}
	r.Release()
	require.NoError(t, <-closed)
}
