//go:build linux

package libvirt_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
)

// TestMigrate moves a guest with a disk, which answers before, meanwhile and after, and stays
// there. What fails, or is cancelled, leaves it where it was.
func TestMigrate(t *testing.T) {
	hosts := libvirttest.StartHosts(t, 2)
	m := open(t, hosts, libvirttest.TCP)
	ctx := within(t, 5*time.Minute)
	g, err := m.Run(ctx, vm.Config{Name: "moves", Backend: "one", Lifetime: vm.Persistent, Memory: 128 * vm.MiB, Accel: "tcg",
		Disks: []vm.Disk{{Size: 16 * vm.MiB}}})
	require.NoError(t, err)
	require.NoError(t, g.WriteFile(ctx, "/tmp/note", []byte("memory"), 0o600))
	disk := func() string {
		res, err := g.Exec(ctx, "head", "-c", "4", "/dev/vda")
		require.NoError(t, err)
		return string(res.Stdout)
	}
	_, err = g.Exec(ctx, "sh", "-c", "printf disk | dd of=/dev/vda conv=fsync")
	require.NoError(t, err)

	at := func(h *libvirttest.Host) int {
		all, _, err := h.Connect(t).ConnectListAllDomains(1, 0)
		require.NoError(t, err)
		return len(all)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = m.VM.Migrate(gone, g.ID(), "two")
	require.ErrorIs(t, err, context.Canceled)
	hosts[1].Vanish(t)
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	_, err = m.VM.Migrate(short, g.ID(), "two")
	cancel()
	require.Error(t, err)
	hosts[1].Return(t)
	require.Equal(t, "disk", disk(), "it runs on where it was")
	require.Equal(t, []int{1, 0}, []int{at(hosts[0]), at(hosts[1])})

	inst, err := m.VM.Migrate(ctx, g.ID(), "two")
	require.NoError(t, err)
	require.Equal(t, vm.Running, inst.State)
	require.Equal(t, "two", inst.Host)
	require.Equal(t, []int{0, 1}, []int{at(hosts[0]), at(hosts[1])})
	note, err := g.ReadFile(ctx, "/tmp/note")
	require.NoError(t, err)
	require.Equal(t, "memory", string(note))
	require.Equal(t, "disk", disk())
	require.NoError(t, g.Remove(ctx, vm.ForceRemove(), vm.DeleteImages()))
	for _, h := range hosts {
		require.Zero(t, at(h))
		in, err := h.Connect(t).StoragePoolLookupByName("maqet")
		require.NoError(t, err)
		names, err := h.Connect(t).StoragePoolListVolumes(in, 100)
		require.NoError(t, err)
		for _, name := range names {
			require.NotContains(t, name, inst.ID)
		}
	}
}

// TestMigrateRefused: what can't move is told before anything is done.
func TestMigrateRefused(t *testing.T) {
	m := open(t, libvirttest.StartHosts(t, 2), libvirttest.TCP)
	ctx := within(t, 2*time.Minute)
	inst, err := m.VM.Add(ctx, vm.Config{Backend: "one", Memory: 64 * vm.MiB, Accel: "tcg"})
	require.NoError(t, err)
	inst, err = m.VM.Start(ctx, inst.ID, vm.StartPaused())
	require.NoError(t, err)
	_, err = m.VM.Migrate(ctx, inst.ID, "two")
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "ephemeral")
	_, err = m.VM.Migrate(ctx, inst.ID, "process")
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
}
