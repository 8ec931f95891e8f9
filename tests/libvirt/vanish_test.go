//go:build linux

package libvirt_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// TestHostVanishes: calls fail typed and in time, the VM counts as failed, and is found running
// when its host is back: its guest never noticed.
func TestHostVanishes(t *testing.T) {
	host := libvirttest.StartHosts(t, 1)[0]
	b, err := libvirt.New(libvirt.Options{URI: host.RemoteURI(t, libvirttest.TLS), Name: "far", LogDir: t.TempDir(), Grace: 2 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	m, err := maqet.New(maqet.WithDir(t.TempDir()), maqet.WithBackend("far", b))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	ctx := within(t, 3*time.Minute)
	inst, err := m.VM.Add(ctx, vm.Config{Name: "island", Backend: "far", Lifetime: vm.Persistent, Memory: 64 * vm.MiB, Accel: "tcg"})
	require.NoError(t, err)
	_, err = m.VM.Start(ctx, inst.ID)
	require.NoError(t, err)

	host.Vanish(t)
	inst, err = m.VM.Wait(ctx, inst.ID, vm.Failed)
	require.NoError(t, err)
	require.Equal(t, vm.ReasonHostUnreachable, inst.Reason)
	soon, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err = m.VM.Stop(soon, inst.ID)
	require.ErrorIs(t, err, errors.ErrHostUnreachable)

	host.Return(t)
	inst, err = m.VM.Wait(ctx, inst.ID, vm.Running)
	require.NoError(t, err)
	_, err = m.VM.Stop(ctx, inst.ID, vm.Force())
	require.NoError(t, err)
	require.NoError(t, m.VM.Remove(ctx, inst.ID))
}
