package snapshot_test

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// deafen stops QEMU's process when an operation comes to a step, and ends the operation's context.
func (h *house) deafen(at string, cancel context.CancelFunc) (undo func()) {
	h.t.Helper()
	inst, err := h.vms.Get(soon(h.t), "box")
	require.NoError(h.t, err)
	h.onStep(func(_ context.Context, step string) {
		if step == at {
			_ = syscall.Kill(inst.Runtime.Process.PID, syscall.SIGSTOP)
			cancel()
		}
	})
	return func() {
		h.onStep(nil)
		require.NoError(h.t, syscall.Kill(inst.Runtime.Process.PID, syscall.SIGCONT))
	}
}

// TestMendGivenUp: who gives up does not wait for what somebody else has left, and that is to be
// mended first, either.
func TestMendGivenUp(t *testing.T) {
	h := newHouse(t)
	_, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 128 * vm.MiB, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.NoError(t, err)
	h.start("box", vm.StartPaused())
	_, err = h.snaps.Create(soon(t), "box", "old")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(soon(t))
	h.onStep(func(_ context.Context, step string) {
		if step == "delete: start job" { // and dies
			cancel()
			runtime.Goexit()
		}
	})
	require.ErrorIs(t, h.snaps.Delete(ctx, "box", "old"), context.Canceled)

	ctx, cancel = context.WithCancel(soon(t))
	defer cancel()
	var given time.Time
	undo := h.deafen("delete: start job", func() { given = time.Now(); cancel() })
	_, err = h.snaps.Create(ctx, "box", "new")
	took := time.Since(given)
	undo()
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, took, 30*time.Second) // of the two minutes for which QEMU is waited for
	h.settle("box")
	require.NoError(t, h.snaps.Mend(soon(t), "box"))
	require.Empty(t, h.names("box"))
}

// TestCommitOfDeafQEMU: a QEMU that hangs when a commit has all but ended is not waited for
// without end, by Close either.
func TestCommitOfDeafQEMU(t *testing.T) {
	l := newLayered(t, nil)
	l.subject(true)
	l.keeper.Hurry(time.Second)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	undo := l.deafen("stand on base made", cancel)
	require.ErrorIs(t, l.snaps.Commit(ctx, "box", "base"), context.Canceled)
	l.settle("box")
	undo()
	require.NoError(t, l.snaps.Mend(soon(t), "box"))
	l.list()
	l.peek(2)
}

// TestMendAsBefore: what is mended of somebody else's operation is left as that would have left
// it, whatever the call asks for that comes upon it.
func TestMendAsBefore(t *testing.T) {
	h := newHouse(t)
	_, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 128 * vm.MiB, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.NoError(t, err)
	_, err = h.vms.Start(soon(t), "box")
	require.NoError(t, err)
	_, err = h.snaps.Create(soon(t), "box", "old")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(soon(t))
	h.onStep(func(_ context.Context, step string) {
		if step == "load: stand on it" {
			cancel()
			runtime.Goexit()
		}
	})
	require.ErrorIs(t, h.snaps.Load(ctx, "box", "old"), context.Canceled)
	h.onStep(nil)
	h.settle("box")
	_, err = h.snaps.Create(soon(t), "box", "old", snapshot.ThenPause())
	require.ErrorIs(t, err, errors.ErrSnapshotExists)
	h.requireState("box", vm.Running)
}
