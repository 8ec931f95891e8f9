package snapshot_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// TestMemoryOfTwoProcesses has two processes work with one live VM, and snapshot it.
func TestMemoryOfTwoProcesses(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "box", Memory: 128 * vm.MiB, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	other := h.another()
	h.mark("box", "old", "/dev/vda")
	other.requireMark("box", "old", "/dev/vda")

	// Both at once: one waits for the other.
	created := make(chan error, 2)
	for name, by := range map[string]*house{"one": h, "two": other} {
		go func() {
			_, err := by.snaps.Create(soon(t), "box", name)
			created <- err
		}()
	}
	require.NoError(t, <-created)
	require.NoError(t, <-created)
	require.ElementsMatch(t, []string{"one", "two"}, h.names("box"))
	h.requireState("box", vm.Running)

	for _, c := range []struct{ loads, works *house }{{h, other}, {other, h}} {
		c.works.mark("box", "new", "/dev/vda")
		c.works.sh("box", "rm -f /tmp/begun")
		ended := make(chan error, 1)
		go func() {
			_, err := c.works.guests.Exec(soon(t), "box", guest.Command{Args: []string{"sh", "-c", "touch /tmp/begun; exec sleep 1000"}})
			ended <- err
		}()
		c.works.sh("box", "while ! [ -e /tmp/begun ]; do sleep 0.02; done")
		require.NoError(t, c.loads.snaps.Load(soon(t), "box", "one"))
		require.ErrorIs(t, <-ended, errors.ErrAgentUnavailable)
		c.loads.requireMark("box", "old", "/dev/vda")
		// The other process hears of the load by an event, and a command that it begins just
		// then can still fail.
		for ctx := soon(t); ; {
			if err := c.works.guests.Ping(ctx, "box"); err == nil {
				break
			}
			require.NoError(t, ctx.Err())
		}
		c.works.requireMark("box", "old", "/dev/vda")
	}
	require.NoError(t, other.snaps.Delete(soon(t), "box", "one"))
	require.Equal(t, []string{"two"}, h.names("box"))
}
