package snapshot_test

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// steps runs do and returns the names of its steps.
func (h *house) steps(do func(ctx context.Context) error) (names []string) {
	h.t.Helper()
	h.onStep(func(_ context.Context, step string) { names = append(names, step) })
	defer h.onStep(nil)
	require.NoError(h.t, do(soon(h.t)))
	return names
}

// at runs do, and hit just before its step with that number.
func (h *house) at(n int, do func(ctx context.Context) error, hit func()) error {
	h.t.Helper()
	seen := 0
	h.onStep(func(context.Context, string) {
		if seen++; seen == n+1 {
			hit()
		}
	})
	defer h.onStep(nil)
	return do(soon(h.t))
}

// settle waits until nobody works on the VM's images.
func (h *house) settle(ref string) {
	h.t.Helper()
	r, err := h.vms.Reserve(soon(h.t), ref)
	require.NoError(h.t, err)
	r.Release()
}

// TestMemoryInterrupted interrupts operations on a live guest at each step: by a context that
// ends, and by the death of who does it.
func TestMemoryInterrupted(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "box", Memory: 128 * vm.MiB, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	t.Run("given up while QEMU is deaf", func(t *testing.T) { memoryDeaf(t, h.in(t)) })
	for name, hit := range map[string]func(cancel context.CancelFunc){
		"given up": func(cancel context.CancelFunc) { cancel() },
		// The goroutine of the operation ends, and with it its reservation; its caller learns nothing.
		"died": func(cancel context.CancelFunc) { cancel(); runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) { memoryInterrupted(t, h.in(t), hit) })
	}
}

func memoryInterrupted(t *testing.T, h *house, hit func(cancel context.CancelFunc)) {
	const disk = "/dev/vda"
	h.mark("box", "old", disk)
	_, err := h.snaps.Create(soon(t), "box", "old")
	require.NoError(t, err)
	create := func(ctx context.Context) error { _, err := h.snaps.Create(ctx, "box", "new"); return err }
	load := func(ctx context.Context) error { return h.snaps.Load(ctx, "box", "old") }
	remove := func(ctx context.Context) error { return h.snaps.Delete(ctx, "box", "new") }
	creating, loading, deleting := h.steps(create), h.steps(load), h.steps(remove)

	// each interrupts do at each of its steps. before and after prepare and check.
	each := func(steps []string, do func(ctx context.Context) error, before func(), after func(step string, err error)) {
		for n, step := range steps {
			before()
			ctx, cancel := context.WithCancel(soon(t))
			err := h.at(n, func(context.Context) error { return do(ctx) }, func() { hit(cancel) })
			if err != nil {
				require.ErrorIs(t, err, context.Canceled, step)
			}
			cancel()
			h.settle("box")
			require.NoError(t, h.snaps.Mend(soon(t), "box"), step)
			h.requireState("box", vm.Running)
			after(step, err)
		}
	}
	t.Run("create", func(t *testing.T) {
		h := h.in(t)
		each(creating, create, func() {}, func(step string, err error) {
			h.requireMark("box", "old", disk)
			names := h.names("box")
			require.Equal(t, "old", names[0], step)
			if err == nil {
				require.Len(t, names, 2, step)
			}
			if len(names) > 1 { // whole
				require.NoError(t, h.snaps.Load(soon(t), "box", "new"), step)
				require.NoError(t, h.snaps.Delete(soon(t), "box", "new"), step)
			}
		})
	})
	t.Run("load", func(t *testing.T) {
		h := h.in(t)
		each(loading, load, func() { h.mark("box", "new", disk) }, func(step string, err error) {
			mark := h.sh("box", "cat /tmp/mark")
			h.requireMark("box", mark, disk) // both or neither
			if err == nil {
				require.Equal(t, "old", mark, step)
			}
			require.Equal(t, []string{"old"}, h.names("box"), step)
		})
	})
	t.Run("delete", func(t *testing.T) {
		h := h.in(t)
		each(deleting, remove, func() {
			if len(h.names("box")) == 1 {
				require.NoError(t, create(soon(t)))
			}
		}, func(step string, err error) {
			h.requireMark("box", h.sh("box", "cat /tmp/mark"), disk)
			if err == nil {
				require.Equal(t, []string{"old"}, h.names("box"), step)
			}
			h.names("box") // which are whole
		})
	})
	for _, name := range h.names("box") {
		require.NoError(t, h.snaps.Delete(soon(t), "box", name))
	}
}

// memoryDeaf gives up while QEMU does not answer: the call ends all the same, and what it has
// begun is undone when QEMU does.
func memoryDeaf(t *testing.T, h *house) {
	inst, err := h.vms.Get(t.Context(), "box")
	require.NoError(t, err)
	pid := inst.Runtime.Process.PID
	h.mark("box", "old", "/dev/vda")
	for _, step := range []string{"save: start job", "save: stand on it"} {
		ctx, cancel := context.WithCancel(soon(t))
		h.onStep(func(_ context.Context, name string) {
			if name == step {
				require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
				cancel()
			}
		})
		_, err = h.snaps.Create(ctx, "box", "new", snapshot.OnProgress(func(snapshot.Progress) {}))
		h.onStep(nil)
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, errors.ErrSnapshot)
		}
		time.Sleep(100 * time.Millisecond) // QEMU is deaf for longer than its caller has waited
		require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
		h.settle("box")
		h.requireState("box", vm.Running)
		if names := h.names("box"); len(names) > 0 {
			require.Equal(t, "save: stand on it", step, "whole by then")
			require.NoError(t, h.snaps.Delete(soon(t), "box", "new"))
		}
		h.requireMark("box", "old", "/dev/vda")
	}
}
