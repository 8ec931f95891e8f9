package vm_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// cutOff takes the host away in the midst of a call.
func (h *fakeHost) cutOff(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = true
	return errAway
}

// TestHostVanishesInStart: the guest of a start that failed may live on, so that it is not started
// once more, elsewhere, and what it has is left alone.
func TestHostVanishesInStart(t *testing.T) {
	h := newHosts(t)
	h.place = func(vm.Instance) (string, error) { return "a", nil }
	inst, err := h.Add(t.Context(), vm.Config{Name: "far", Backend: "any", Lifetime: vm.Persistent})
	require.NoError(t, err)
	h.a.resume = h.a.cutOff
	var failed *errors.StartError
	_, err = h.Start(t.Context(), "far")
	require.ErrorAs(t, err, &failed)
	require.Equal(t, vm.StepContinue, failed.Step)
	inst, err = h.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.ReasonHostUnreachable, inst.Reason)
	require.False(t, h.a.guest(inst.ID).gone())
	require.Zero(t, h.a.erased[inst.ID])

	h.place = func(vm.Instance) (string, error) { return "b", nil }
	_, err = h.Start(t.Context(), "far")
	require.ErrorIs(t, err, errors.ErrHostUnreachable)
	require.Nil(t, h.b.guest(inst.ID), "there are two")
	require.ErrorIs(t, h.Remove(t.Context(), "far", vm.ForceRemove()), errors.ErrHostUnreachable)

	h.a.resume = nil
	h.a.comeBack()
	require.Equal(t, vm.ReasonHostReturned, h.await(t, inst.ID, vm.Paused).Reason)
	_, err = h.Stop(t.Context(), "far", vm.Force())
	require.NoError(t, err)
	inst, err = h.Start(t.Context(), "far")
	require.NoError(t, err)
	require.Equal(t, "b", inst.Host)
}

// TestHostVanishesInLaunch: nobody knows whether there is a guest until the host is back.
func TestHostVanishesInLaunch(t *testing.T) {
	h := newHosts(t)
	inst, err := h.Add(t.Context(), vm.Config{Name: "far", Backend: "a", Lifetime: vm.Persistent})
	require.NoError(t, err)
	h.a.launch = h.a.cutOff
	_, err = h.Start(t.Context(), "far")
	require.ErrorIs(t, err, errors.ErrHostUnreachable)
	h.a.launch = nil
	for range 2 {
		_, err = h.Start(t.Context(), "far")
		require.ErrorIs(t, err, errors.ErrHostUnreachable)
		inst, err = h.Get(t.Context(), inst.ID)
		require.NoError(t, err)
		require.Equal(t, vm.ReasonHostUnreachable, inst.Reason)
	}
	h.a.comeBack()
	inst, err = h.Start(t.Context(), "far")
	require.NoError(t, err)
	require.Equal(t, vm.Running, inst.State)
}
