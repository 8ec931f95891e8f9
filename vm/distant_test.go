package vm_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func (h *hosts) running(t *testing.T, cfg vm.Config) vm.Instance {
	inst, err := h.Add(t.Context(), cfg)
	require.NoError(t, err)
	inst, err = h.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	return inst
}

func (h *hosts) await(t *testing.T, id string, state vm.State) vm.Instance {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	inst, err := h.Wait(ctx, id, state)
	require.NoError(t, err)
	return inst
}

func TestHostVanishesAndReturns(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Name: "far", Backend: "a", Lifetime: vm.Persistent})
	h.a.vanish()
	require.Equal(t, vm.ReasonHostUnreachable, h.await(t, inst.ID, vm.Failed).Reason)

	for name, op := range map[string]func() error{
		"start":   func() error { _, err := h.Start(t.Context(), "far"); return err },
		"stop":    func() error { _, err := h.Stop(t.Context(), "far"); return err },
		"kill":    func() error { _, err := h.Stop(t.Context(), "far", vm.Force()); return err },
		"remove":  func() error { return h.Remove(t.Context(), "far") },
		"force":   func() error { return h.Remove(t.Context(), "far", vm.ForceRemove()) },
		"reserve": func() error { _, err := h.Reserve(t.Context(), "far"); return err },
		"change": func() error {
			_, err := h.Apply(t.Context(), vm.Config{Name: "far", Backend: "a", Memory: 64 * vm.MiB})
			return err
		},
		"migrate": func() error { _, err := h.Migrate(t.Context(), "far", "b"); return err },
	} {
		require.ErrorIs(t, op(), errors.ErrHostUnreachable, name)
	}
	now, err := h.Get(t.Context(), "far")
	require.NoError(t, err)
	require.Equal(t, vm.Failed, now.State, "none of them has changed it")

	h.a.comeBack()
	require.Equal(t, vm.ReasonHostReturned, h.await(t, inst.ID, vm.Running).Reason)
	report, err := h.Stop(t.Context(), "far")
	require.NoError(t, err)
	require.Equal(t, "acpi", report.Step)
}

// TestEndsWhileItsHostIsAway: what is found when the host is back is recorded.
func TestEndsWhileItsHostIsAway(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Backend: "a", Lifetime: vm.Persistent})
	h.a.vanish()
	h.await(t, inst.ID, vm.Failed)
	h.a.reach = nil
	h.a.guest(inst.ID).end(errors.ExitStatus{Known: true, Code: 1})
	require.Eventually(t, func() bool {
		now, err := h.Get(t.Context(), inst.ID)
		return err == nil && now.State == vm.Failed && now.Reason == "qemu-exited: exit status 1"
	}, 30*time.Second, time.Millisecond)
	require.ErrorIs(t, h.Remove(t.Context(), inst.ID), errors.ErrHostUnreachable, "what it left is there")
	h.a.turn(false, nil)
	require.NoError(t, h.Remove(t.Context(), inst.ID))
}

// TestAnotherProcessFindsTheHostAway: it has no guest that would tell it.
func TestAnotherProcessFindsTheHostAway(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Backend: "a", Lifetime: vm.Persistent})
	h.a.mu.Lock()
	h.a.away, h.a.reach = true, nil
	h.a.mu.Unlock()
	other := h.another(t)
	changed, err := other.Reconcile(t.Context())
	require.NoError(t, err)
	require.Len(t, changed, 1)
	require.Equal(t, vm.ReasonHostUnreachable, changed[0].Reason)
	changed, err = other.Reconcile(t.Context())
	require.NoError(t, err)
	require.Empty(t, changed, "it is still away")
	_, err = other.Live(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrHostUnreachable)

	h.a.mu.Lock()
	h.a.away = false
	h.a.mu.Unlock()
	changed, err = other.Reconcile(t.Context())
	require.NoError(t, err)
	require.Len(t, changed, 1)
	require.Equal(t, vm.Running, changed[0].State)
}
