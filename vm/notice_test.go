package vm_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/vm"
)

// TestWaitTimeoutIsOne: whoever notices the end of the context first.
func TestWaitTimeoutIsOne(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	for range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
		got, err := b.Wait(ctx, inst.ID, vm.Running)
		cancel()
		if got.ID == "" {
			continue // over before it began
		}
		require.ErrorIs(t, err, errors.ErrWaitTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

// TestWaitNoticesADeadOperation: the process that stopped a VM dies, and with it goes
// nothing but its lock.
func TestWaitNoticesADeadOperation(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent})
	require.NoError(t, b.Close())
	lock, err := flock.Try(filepath.Join(b.dir, "locks", inst.ID+".lock"))
	require.NoError(t, err)
	force(t, b, inst, vm.Stopping)
	b.backend.guest(inst.ID).end(errors.ExitStatus{})
	next := b.second(t)
	res := make(chan vm.Instance, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		got, _ := next.Wait(ctx, inst.ID)
		res <- got
	}()
	time.Sleep(20 * time.Millisecond) // the wait is under way, or begins later: both must do
	require.NoError(t, lock.Unlock())
	require.Equal(t, vm.Stopped, (<-res).State)
}

// TestLockOfADeadOwner: QEMU's process, between fork and exec, keeps the lock of the start
// that forked it for a moment after its owner was killed.
func TestLockOfADeadOwner(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent})
	require.NoError(t, b.Close())
	force(t, b, inst, vm.Starting)
	orphan(t, b, inst)
	lock, err := flock.Try(filepath.Join(b.dir, "locks", inst.ID+".lock"))
	require.NoError(t, err)
	time.AfterFunc(50*time.Millisecond, func() { _ = lock.Unlock() }) // the time until exec
	changed, err := b.second(t).Reconcile(t.Context())
	require.NoError(t, err)
	require.Len(t, changed, 1)
	require.Equal(t, vm.Running, changed[0].State)
}

// TestWatchTellsRemovalOnce: a list that was read before a removal does not bring the
// VM back.
func TestWatchTellsRemovalOnce(t *testing.T) {
	b := newBench(t)
	lists, removed := 0, func() {}
	store := &hookStore{Store: b.store, afterList: func() {
		if lists++; lists == 2 { // the first is that of Watch itself
			removed()
		}
	}}
	m := b.over(t, store)
	inst, err := m.Add(t.Context(), vm.Config{Name: "web"})
	require.NoError(t, err)
	removed = func() { _ = m.Remove(context.Background(), inst.ID) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := m.Watch(ctx)
	require.NoError(t, err)
	b.add(t, vm.Config{Name: "last"}) // has the watcher compare
	var got []string
	for len(got) == 0 || got[len(got)-1] != "end " {
		if len(got) == 2 {
			b.add(t, vm.Config{Name: "end"})
		}
		ev := <-events
		got = append(got, ev.Name+" "+string(ev.From))
	}
	require.ElementsMatch(t, []string{"web created", "last ", "end "}, got)
}
