package vm_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

func pluggedIDs(inst vm.Instance) (ids []string) {
	for _, d := range inst.Plugged {
		ids = append(ids, d.ID)
	}
	return ids
}

// TestPluggedDevicesAreRecorded: a restart comes with them, at the place that they had.
func TestPluggedDevicesAreRecorded(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Name: "web"})
	rng := qmp.Device{ID: "rng", Driver: "virtio-rng-pci", Bus: "hotplug0", RNG: &qmp.RNG{}}
	moved := rng
	moved.Bus = "hotplug1"
	require.NoError(t, b.DeviceAdded(t.Context(), "web", rng))
	require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, qmp.Device{ID: "cpu", CPU: &qmp.CPU{}}))
	require.NoError(t, b.DeviceAdded(t.Context(), "web", moved))
	now, err := b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, []string{"cpu", "rng"}, pluggedIDs(now))
	require.Equal(t, vm.Running, now.State)

	_, err = b.Stop(t.Context(), "web")
	require.NoError(t, err)
	now, err = b.Start(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, now.Plugged, b.backend.guest(inst.ID).spec.Plugged)
	require.Equal(t, "hotplug1", now.Plugged[1].Bus)

	require.NoError(t, b.DeviceRemoved(t.Context(), "web", "cpu"))
	require.NoError(t, b.DeviceRemoved(t.Context(), "web", "cpu"), "idempotent")
	now, err = b.Get(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, []string{"rng"}, pluggedIDs(now))
	require.Empty(t, now.Unplugged)
	require.ErrorIs(t, b.DeviceAdded(t.Context(), "nobody", rng), errors.ErrVMNotFound)
	require.ErrorIs(t, b.DeviceRemoved(t.Context(), "nobody", "rng"), errors.ErrVMNotFound)
}

// TestConfiguredDevicesStayAway: one of the configuration's that was removed is left out
// of a restart, until another configuration is applied.
func TestConfiguredDevicesStayAway(t *testing.T) {
	b := newBench(t)
	cfg := vm.Config{Name: "web", Devices: []vm.Device{{Driver: "x"}, {ID: "mine", Driver: "y"}},
		Disks: []vm.Disk{{Size: vm.MiB}}, Networks: []vm.Network{{}}}
	inst := b.start(t, cfg)
	all := []string{"device0", "mine", "disk0", "net0"}
	for _, id := range append(all, "agent") {
		require.NoError(t, b.DeviceRemoved(t.Context(), "web", id))
		require.NoError(t, b.DeviceRemoved(t.Context(), "web", id))
	}
	now, err := b.Apply(t.Context(), cfg)
	require.NoError(t, err, "the configuration is the same")
	require.Equal(t, all, now.Unplugged)
	_, err = b.Stop(t.Context(), "web")
	require.NoError(t, err)
	_, err = b.Start(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, all, b.backend.guest(inst.ID).spec.Unplugged)
	_, err = b.Stop(t.Context(), "web")
	require.NoError(t, err)
	cfg.Memory = vm.GiB
	now, err = b.Apply(t.Context(), cfg)
	require.NoError(t, err)
	require.Empty(t, now.Unplugged)
}

// TestGuestLetsGoLater: the record follows the event, also of a process that did not ask
// for it.
func TestGuestLetsGoLater(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	second := b.second(t)
	_, err := second.QMP(t.Context(), inst.ID) // watches from now on
	require.NoError(t, err)
	for _, id := range []string{"rng", "disk"} {
		require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, qmp.Device{ID: id, Driver: "x"}))
	}
	g := b.backend.guest(inst.ID)
	g.event("DEVICE_DELETED", `{"path":"/machine/peripheral/rng/virtio-backend"}`)
	g.event("DEVICE_DELETED", `{"device":"rng","path":"/machine/peripheral/rng"}`)
	require.Eventually(t, func() bool {
		now, err := b.Get(t.Context(), inst.ID)
		require.NoError(t, err)
		return len(now.Plugged) == 1
	}, 5*time.Second, time.Millisecond)
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"disk"}, pluggedIDs(now))
}

// TestGuestLetGoUnwatched: who finds the guest again looks.
func TestGuestLetGoUnwatched(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Devices: []vm.Device{{ID: "mine", Driver: "x"}}})
	require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, qmp.Device{ID: "rng", Driver: "x"}))
	require.NoError(t, b.Close())
	second := b.second(t)
	_, err := second.QMP(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		now, err := second.Get(t.Context(), inst.ID)
		require.NoError(t, err)
		return len(now.Plugged) == 0 && len(now.Unplugged) == 1
	}, 5*time.Second, time.Millisecond)
}

// TestPluggedAgain: the news that a device went may come after it was plugged again.
func TestPluggedAgain(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, qmp.Device{ID: "rng", Driver: "x"}))
	g := b.backend.guest(inst.ID)
	g.mu.Lock()
	g.device = true
	g.mu.Unlock()
	require.NoError(t, b.DeviceRemoved(t.Context(), inst.ID, "rng"))
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"rng"}, pluggedIDs(now))
}

// TestPluggedByMany: no record is lost to another.
func TestPluggedByMany(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	second := b.second(t)
	var wg sync.WaitGroup
	for i := range 20 {
		m := b.Manager
		if i%2 == 0 {
			m = second
		}
		wg.Go(func() {
			id := fmt.Sprintf("d%d", i)
			require.NoError(t, m.DeviceAdded(t.Context(), inst.ID, qmp.Device{ID: id, Driver: "x"}))
			if i >= 10 {
				require.NoError(t, m.DeviceRemoved(t.Context(), inst.ID, id))
			}
		})
	}
	wg.Wait()
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Len(t, now.Plugged, 10)
}
