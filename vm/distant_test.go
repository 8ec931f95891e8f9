package vm_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
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

// TestStopAfterItsHostReturned: a guest that ended meanwhile keeps its images, if that is asked for.
func TestStopAfterItsHostReturned(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Backend: "a", Lifetime: vm.Persistent})
	require.NoError(t, h.Manager.Close()) // nobody watches
	h.a.mu.Lock()
	h.a.away, h.a.reach = true, nil
	h.a.mu.Unlock()
	other := h.another(t)
	_, err := other.Reconcile(t.Context())
	require.NoError(t, err)
	h.a.guest(inst.ID).end(errors.ExitStatus{Known: true})
	h.a.turn(false, nil)
	report, err := other.Stop(t.Context(), inst.ID, vm.KeepImages())
	require.NoError(t, err)
	require.Equal(t, "none", report.Step)
	inst, err = other.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.ReasonVanished, inst.Reason)
	require.True(t, inst.ImagesKept)
}

// TestHelperEndsWhileItsHostIsAway: the reason by which the VM is known to be out of reach stays.
func TestHelperEndsWhileItsHostIsAway(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Backend: "a", Lifetime: vm.Persistent})
	h.a.vanish()
	inst = h.await(t, inst.ID, vm.Failed)
	h.a.guest(inst.ID).lost <- vm.Helper{Name: "swtpm", Exit: &errors.ExitStatus{Known: true, Code: 1}}
	require.Eventually(t, func() bool {
		now, err := h.Get(t.Context(), inst.ID)
		return err == nil && now.Version > inst.Version && now.Reason == vm.ReasonHostUnreachable
	}, 30*time.Second, time.Millisecond)
	_, err := h.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrHostUnreachable)
}

// TestReserveWaitsForAVMThatGetsLost: its images are in use, as far as anybody knows.
func TestReserveWaitsForAVMThatGetsLost(t *testing.T) {
	h := newHosts(t)
	inst, err := h.Add(t.Context(), vm.Config{Backend: "a", Lifetime: vm.Persistent})
	require.NoError(t, err)
	lock, err := flock.Try(filepath.Join(h.opts.Dir, "locks", inst.ID+".lock")) // as another process
	require.NoError(t, err)
	reserved := make(chan error, 1)
	go func() {
		r, err := h.Reserve(t.Context(), inst.ID)
		if err == nil {
			r.Release()
		}
		reserved <- err
	}()
	select {
	case err := <-reserved:
		require.Fail(t, "it did not wait", "%v", err)
	case <-time.After(200 * time.Millisecond): // or it comes later: then it looks at once
	}
	h.a.mu.Lock()
	h.a.away = true
	h.a.mu.Unlock()
	lost := inst
	lost.State, lost.Reason = vm.Failed, vm.ReasonHostUnreachable
	_, err = h.opts.Store.Update(t.Context(), lost, inst.State, inst.Version)
	require.NoError(t, err)
	require.NoError(t, lock.Unlock())
	require.ErrorIs(t, <-reserved, errors.ErrHostUnreachable)
}
