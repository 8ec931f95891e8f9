package snapshot_test

import (
	"context"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// poolForks is what the facade gives a pool, too.
type poolForks struct {
	*snapshot.Coordinator
	*vm.Manager
}

// waitReady returns when n forks of the pool are ready.
func waitReady(t *testing.T, p *snapshot.Pool, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return p.Status().Ready == n }, 2*time.Minute, 20*time.Millisecond, "%+v", p.Status())
}

// TestPoolOfGuests: what a pool hands out works at once, is warm, and is somebody of its own
// although it was made long before; one that was killed is not handed out.
func TestPoolOfGuests(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "base", Template: true})
	h.sh("base", "echo template > /tmp/memory")
	h.capture("base", "one")
	p, err := snapshot.NewPool(t.Context(), poolForks{h.snaps, h.vms}, "one", snapshot.PoolOptions{
		Size: 2, Parallel: 2,
		WarmUp: func(ctx context.Context, fork vm.Instance) error {
			_, err := h.guests.Exec(ctx, fork.ID, guest.Command{Args: []string{"touch", "/tmp/warm"}})
			return err
		},
	})
	require.NoError(t, err)
	closed := false
	defer func() {
		if !closed {
			require.NoError(t, p.Close())
		}
	}()
	waitReady(t, p, 2)

	victim := h.forks()[0]
	guestOf, err := h.vms.Live(t.Context(), victim.ID)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(victim.Runtime.Process.PID, syscall.SIGKILL))
	<-guestOf.Done()
	seen := map[string]bool{}
	var got []vm.Instance
	for range 2 {
		inst, err := p.Get(soon(t))
		require.NoError(t, err)
		require.Equal(t, "template\n/tmp/warm", h.sh(inst.ID, "cat /tmp/memory; ls /tmp/warm"))
		random := h.sh(inst.ID, "head -c 16 /dev/urandom | hexdump")
		require.False(t, seen[random], "random numbers %s", random)
		seen[random] = true
		now, err := strconv.ParseInt(h.sh(inst.ID, "date +%s"), 10, 64)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), time.Unix(now, 0), 30*time.Second)
		got = append(got, inst)
	}
	require.NotEqual(t, got[0].ID, got[1].ID)
	waitReady(t, p, 2)
	for _, inst := range append(h.forks(), got...) {
		require.NotEqual(t, victim.ID, inst.ID, "the one that was killed is gone")
	}
	require.Len(t, h.forks(), 4)
	require.ErrorIs(t, h.snaps.DeleteTemplate(t.Context(), "one"), errors.ErrTemplateInUse)

	closed = true
	require.NoError(t, p.Close())
	left := h.forks()
	require.Len(t, left, 2)
	for _, inst := range left {
		require.Equal(t, vm.Running, inst.State, "it was handed out")
		require.NoError(t, h.vms.Remove(t.Context(), inst.ID, vm.ForceRemove()))
	}
	require.NoError(t, h.snaps.DeleteTemplate(t.Context(), "one"))
	_, err = snapshot.NewPool(t.Context(), poolForks{h.snaps, h.vms}, "one", snapshot.PoolOptions{})
	require.ErrorIs(t, err, errors.ErrTemplateNotFound)
}

// forks lists the VMs that were forked.
func (h *house) forks() (forks []vm.Instance) {
	h.t.Helper()
	list, err := h.vms.List(h.t.Context(), vm.Filter{})
	require.NoError(h.t, err)
	for _, inst := range list {
		if inst.Fork != nil {
			forks = append(forks, inst)
		}
	}
	return forks
}
