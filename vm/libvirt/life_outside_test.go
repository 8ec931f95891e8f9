//go:build linux

package libvirt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// What an operator does with virsh is what the record says then, with the reason.
func TestBehindOurBack(t *testing.T) {
	d := libvirt.SharedDaemon().Get(t)
	m := lifeOpen(t, d, t.TempDir())
	name := lifeAdd(t, m, vm.Config{Lifetime: vm.Persistent})
	lifeStart(t, m, name)

	virsh(t, d, "resume", name)
	require.Equal(t, vm.ReasonResumed, lifeAwait(t, m, name, vm.Running))
	virsh(t, d, "suspend", name)
	require.Equal(t, vm.ReasonPaused, lifeAwait(t, m, name, vm.Paused))
	virsh(t, d, "destroy", name)
	require.Equal(t, "host-signal", lifeAwait(t, m, name, vm.Stopped))
	inst, err := m.VM.Get(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, &errors.ExitStatus{Known: true}, inst.Runtime.Exit)
	require.False(t, inst.Unclean)

	t.Run("started", func(t *testing.T) {
		virsh(t, d, "start", "--paused", name)
		changed, err := m.VM.Reconcile(lifeLimit(t))
		require.NoError(t, err)
		require.Len(t, changed, 1)
		require.Equal(t, vm.Paused, changed[0].State)
		require.Equal(t, vm.ReasonAdopted, changed[0].Reason)
		virsh(t, d, "destroy", name)
		require.Equal(t, "host-signal", lifeAwait(t, m, name, vm.Stopped))

		virsh(t, d, "start", "--paused", name)
		status, err := m.QMP.Status(lifeLimit(t), name) // needs the guest
		require.NoError(t, err)
		require.False(t, status.Running)
		_, err = m.VM.Start(lifeLimit(t), name)
		require.ErrorIs(t, err, errors.ErrVMAlreadyRunning)
		_, err = m.VM.Stop(lifeLimit(t), name, vm.Force())
		require.NoError(t, err)

		virsh(t, d, "start", "--paused", name)
		require.ErrorIs(t, m.VM.Remove(lifeLimit(t), name), errors.ErrIllegalTransition)
		_, err = m.VM.Stop(lifeLimit(t), name, vm.Force())
		require.NoError(t, err)
	})
	t.Run("undefined", func(t *testing.T) {
		virsh(t, d, "undefine", name)
		lifeStart(t, m, name)
		virsh(t, d, "undefine", name) // a transient one from here on
		_, err := m.VM.Stop(lifeLimit(t), name, vm.Force())
		require.NoError(t, err)
		require.NotContains(t, virsh(t, d, "list", "--all", "--name"), name)
		lifeStart(t, m, name)
		_, err = m.VM.Stop(lifeLimit(t), name, vm.Force())
		require.NoError(t, err)
	})
	t.Run("renamed", func(t *testing.T) {
		virsh(t, d, "domrename", name, name+"-new")
		lifeStart(t, m, name)
		require.Contains(t, virsh(t, d, "list", "--name"), name+"-new")
		_, err := m.VM.Stop(lifeLimit(t), name, vm.Force())
		require.NoError(t, err)
	})
	t.Run("saved", func(t *testing.T) {
		lifeStart(t, m, name)
		virsh(t, d, "managedsave", name+"-new")
		require.Equal(t, "saved", lifeAwait(t, m, name, vm.Stopped))
		_, err := m.VM.Start(lifeLimit(t), name, vm.StartPaused())
		require.ErrorIs(t, err, errors.ErrVMStart)
		require.ErrorContains(t, err, "virsh managedsave-remove "+name+"-new")
	})
	require.NoError(t, m.VM.Remove(lifeLimit(t), name))
	require.NotContains(t, virsh(t, d, "list", "--all", "--name"), name)
}
