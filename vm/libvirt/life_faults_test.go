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

// Guests outlive their libvirtd, and are found again; what was asked of it meanwhile fails.
func TestFaults(t *testing.T) {
	d := libvirttest.Start(t) // others don't want it to be killed
	m := lifeOpenShort(t, d, t.TempDir())
	name := lifeAdd(t, m, vm.Config{Lifetime: vm.Persistent})
	passing := lifeAdd(t, m, vm.Config{})
	lifeStart(t, m, name)
	lifeStart(t, m, passing)

	t.Run("libvirtd is killed", func(t *testing.T) {
		for range 2 {
			d.Kill(t)
			begun := time.Now()
			_, err := m.QMP.Status(lifeLimit(t), name)
			require.ErrorIs(t, err, errors.ErrHostUnreachable)
			require.Less(t, time.Since(begun), 30*time.Second)
			d.Restart(t)
			lifeAnswers(t, m, name)
			require.NoError(t, m.QMP.Resume(lifeLimit(t), name))
			lifeAwait(t, m, name, vm.Running)
			require.NoError(t, m.QMP.Pause(lifeLimit(t), name))
			lifeAwait(t, m, name, vm.Paused)
		}
		lifeAwait(t, m, passing, vm.Paused)
	})
	t.Run("libvirtd hangs", func(t *testing.T) {
		d.Freeze(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := m.QMP.Status(ctx, name)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("host out of reach", func(t *testing.T) {
		d.Kill(t)
		for _, vmName := range []string{name, passing} {
			require.Equal(t, vm.ReasonHostUnreachable, lifeAwait(t, m, vmName, vm.Failed))
			_, err := m.VM.Stop(lifeLimit(t), vmName)
			require.ErrorIs(t, err, errors.ErrHostUnreachable)
		}
		d.Restart(t)
		for _, vmName := range []string{name, passing} {
			require.Equal(t, vm.ReasonHostReturned, lifeAwait(t, m, vmName, vm.Paused))
		}
	})
	t.Run("gone meanwhile", func(t *testing.T) {
		d.Kill(t)
		require.Equal(t, vm.ReasonHostUnreachable, lifeAwait(t, m, name, vm.Failed))
		require.NoError(t, d.Process(t, name).Signal(9))
		d.Restart(t)
		ctx := lifeLimit(t)
		changes, err := m.VM.Watch(ctx)
		require.NoError(t, err)
		inst, err := m.VM.Get(ctx, name)
		require.NoError(t, err)
		for inst.Reason == vm.ReasonHostUnreachable {
			<-changes
			inst, err = m.VM.Get(ctx, name)
			require.NoError(t, err)
		}
		require.Equal(t, vm.Failed, inst.State)
		require.True(t, inst.Unclean)
	})
	t.Run("QEMU is killed", func(t *testing.T) {
		lifeStart(t, m, name)
		require.NoError(t, d.Process(t, name).Signal(9))
		require.Equal(t, vm.ReasonQEMUExited+": unknown exit status", lifeAwait(t, m, name, vm.Failed))
	})
	t.Run("closed", func(t *testing.T) { // libvirtd would not end it any more
		require.Contains(t, virsh(t, d, "list", "--all", "--name"), passing)
		require.NoError(t, m.Close())
		require.NotContains(t, virsh(t, d, "list", "--all", "--name"), passing)
	})
}
