package snapshot_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestOfflineGuest: what a guest has written on both of its disks before a snapshot was made is
// what it finds after the load of it.
func TestOfflineGuest(t *testing.T) {
	h := newHouse(t)
	const ref = "web"
	write := func(pattern string) {
		for _, dev := range []string{"vda", "vdb"} {
			h.sh(ref, fmt.Sprintf("yes %s | head -c 1048576 > /dev/%s && sync", pattern, dev))
		}
	}
	requireHeld := func(pattern string) {
		t.Helper()
		want := strings.Repeat(pattern+"\n", 2)
		for _, dev := range []string{"vda", "vdb"} {
			require.Equal(t, strings.TrimSuffix(want, "\n"), h.sh(ref, fmt.Sprintf("head -c 1048576 /dev/%s | sort -u; head -n 1 /dev/%s", dev, dev)))
		}
	}
	stop := func() {
		_, err := h.vms.Stop(t.Context(), ref)
		require.NoError(t, err)
	}
	h.boot(vm.Config{Name: ref, Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: 8 * vm.MiB}, {Size: 8 * vm.MiB}}})
	write("earlier")
	stop()
	s, err := h.snaps.Create(t.Context(), ref, "-before it all")
	require.NoError(t, err)
	require.Equal(t, snapshot.Internal, s.Kind)
	h.start(ref)
	requireHeld("earlier")
	write("another")
	stop()
	require.NoError(t, h.snaps.Load(t.Context(), ref, "-before it all", snapshot.ThenRun()))
	inst, err := h.vms.Get(t.Context(), ref)
	require.NoError(t, err)
	require.Equal(t, vm.Running, inst.State)
	require.NoError(t, h.guests.Wait(soon(t), ref, guest.AgentReady()))
	requireHeld("earlier")
	stop()
	require.NoError(t, h.snaps.Delete(t.Context(), ref, "-before it all"))
	require.NoError(t, h.vms.Remove(t.Context(), ref, vm.DeleteImages()))
}
