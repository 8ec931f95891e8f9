package vm_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Runs implements vm.Surveyor.
func (h *fakeHost) Runs(_ context.Context, inst vm.Instance) (bool, error) {
	g := h.guest(inst.ID)
	return g != nil && !g.gone(), h.gone()
}

// A guest that others have started is found by who looks, and is a run of its own.
func TestStartedByOthers(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Name: "far", Backend: "a", Lifetime: vm.Persistent})
	first := inst.Run
	require.NotZero(t, first)
	stop := func() {
		_, err := h.Stop(t.Context(), "far", vm.Force())
		require.NoError(t, err)
	}
	stop()
	same, err := h.Reconcile(t.Context())
	require.NoError(t, err)
	require.Empty(t, same)
	byOthers := func() *fakeGuest {
		_, err := h.a.fakeBackend.Launch(t.Context(), vm.LaunchSpec{ID: inst.ID, Config: inst.Config})
		require.NoError(t, err)
		return h.a.guest(inst.ID)
	}

	guest := byOthers()
	h.a.away = true
	same, err = h.Reconcile(t.Context())
	require.NoError(t, err)
	require.Empty(t, same, "nobody knows")
	h.a.away = false
	changed, err := h.Reconcile(t.Context())
	require.NoError(t, err)
	require.Len(t, changed, 1)
	require.Equal(t, vm.Paused, changed[0].State)
	require.Equal(t, vm.ReasonAdopted, changed[0].Reason)
	require.Greater(t, changed[0].Run, first)
	guest.end(errors.ExitStatus{Known: true, Code: 1})
	require.Equal(t, "qemu-exited: exit status 1", h.await(t, inst.ID, vm.Failed).Reason)

	byOthers()
	_, err = h.Live(t.Context(), "far")
	require.NoError(t, err)
	stop()
	byOthers()
	_, err = h.Start(t.Context(), "far")
	require.ErrorIs(t, err, errors.ErrVMAlreadyRunning)
	stop()
	byOthers()
	require.ErrorIs(t, h.Remove(t.Context(), "far"), errors.ErrIllegalTransition)
	stop()
	require.NoError(t, h.Remove(t.Context(), "far"))
}

// An ephemeral VM is its process's alone.
func TestStartedByOthersEphemeral(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Name: "far", Backend: "a"})
	_, err := h.Stop(t.Context(), "far", vm.Force())
	require.NoError(t, err)
	_, err = h.a.fakeBackend.Launch(t.Context(), vm.LaunchSpec{ID: inst.ID, Config: inst.Config})
	require.NoError(t, err)
	changed, err := h.Reconcile(t.Context())
	require.NoError(t, err)
	require.Empty(t, changed)
}
