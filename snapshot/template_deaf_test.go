package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// promptly is far more than the 100 ms that a call may take to return when its context ends: the
// machine may be busy.
const promptly = 2 * time.Second

// files lists what there is of VMs and images.
func (h *house) files() (paths []string) {
	h.t.Helper()
	for _, dir := range []string{"images", "run", "vms", "templates"} {
		err := filepath.WalkDir(filepath.Join(h.dir, dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && !strings.HasSuffix(path, ".lock") && !strings.HasSuffix(path, "/.locks") && path != filepath.Join(h.dir, "templates") {
				paths = append(paths, path)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		})
		require.NoError(h.t, err)
	}
	registered, err := h.images.Files(context.Background(), storage.FileFilter{})
	require.NoError(h.t, err)
	for _, f := range registered {
		paths = append(paths, "registered "+f.Path)
	}
	return paths
}

// TestForkNeverAnswers: a fork whose guest hangs is given up after the time that it has to be
// ready, with what it said on its console, and nothing of it is left. That time is no part of
// the machine.
func TestForkNeverAnswers(t *testing.T) {
	h := newHouse(t)
	h.boot(h.withoutSystem("base"), vm.StartPaused())
	h.capture("base", "one")
	before := h.files()
	begun := time.Now()
	_, err := h.snaps.Fork(soon(t), "one", snapshot.ForkConfig(func(c *vm.Config) { c.Timeouts.Ready = vm.Duration(2 * time.Second) }))
	require.Less(t, time.Since(begun), time.Minute)
	require.GreaterOrEqual(t, time.Since(begun), 2*time.Second)
	var start *errors.StartError
	require.ErrorAs(t, err, &start)
	require.Equal(t, vm.StepIdentity, start.Step)
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
	require.NotErrorIs(t, err, errors.ErrTemplateMismatch)
	require.Equal(t, []string{"base"}, h.vmNames())
	require.Equal(t, before, h.files())
	require.Empty(t, processesOf(t, h.dir))
}

// TestForkCancelled: a fork that is given up in any of its steps returns at once and leaves nothing.
func TestForkCancelled(t *testing.T) {
	h := newHouse(t)
	h.boot(h.withoutSystem("base"), vm.StartPaused())
	h.capture("base", "one")
	before := h.files()
	for _, step := range []string{vm.StepValidate, vm.StepLock, vm.StepImages, vm.StepLaunch, vm.StepHandshake, vm.StepRestore,
		vm.StepContinue, vm.StepIdentity} {
		for _, after := range []time.Duration{0, 5 * time.Millisecond} {
			ctx, cancel := context.WithCancel(soon(t))
			var given time.Time
			var timer *time.Timer
			_, err := h.snaps.Fork(ctx, "one", snapshot.ForkForCapture(), snapshot.ForkStart(vm.OnStep(func(s vm.Step) {
				if s.Name == step && s.Duration == 0 && given.IsZero() {
					given = time.Now()
					if after == 0 {
						cancel()
					} else {
						timer = time.AfterFunc(after, cancel)
					}
				}
			})))
			took := time.Since(given)
			if timer != nil {
				timer.Stop()
			}
			cancel()
			require.ErrorIs(t, err, context.Canceled, step)
			require.False(t, given.IsZero(), step)
			require.Less(t, took, promptly, step)
			require.Equal(t, []string{"base"}, h.vmNames(), step)
			require.Empty(t, processesOf(t, h.dir), step)
			require.Equal(t, before, h.files(), step)
		}
	}
}

// TestCaptureCancelled: a capture that is given up before the guest was ended lets it go on;
// afterwards it is brought to its end.
func TestCaptureCancelled(t *testing.T) {
	h := newHouse(t)
	cfg := h.withoutSystem("base")
	h.boot(cfg, vm.WaitFor())
	for _, step := range []string{"capture: halt", "capture: save"} {
		before := h.files()
		ctx, cancel := context.WithCancel(soon(t))
		h.onStep(func(_ context.Context, name string) {
			if name == step {
				cancel()
			}
		})
		begun := time.Now()
		_, err := h.snaps.Capture(ctx, "base", "one")
		require.ErrorIs(t, err, context.Canceled, step)
		require.Less(t, time.Since(begun), promptly)
		h.onStep(nil)
		r, err := h.vms.Reserve(soon(t), "base") // what is undone in the background is undone then
		require.NoError(t, err)
		r.Release()
		require.Equal(t, before, h.files(), step)
		_, err = h.vms.Wait(soon(t), "base", vm.Running) // its record follows QEMU's event
		require.NoError(t, err)
		live, err := h.vms.Live(t.Context(), "base")
		require.NoError(t, err)
		status, err := qmp.Do[struct{ Running bool }](t.Context(), live.QMP(), "query-status", nil)
		require.NoError(t, err)
		require.True(t, status.Running, step)
	}
	ctx, cancel := context.WithCancel(soon(t))
	h.onStep(func(_ context.Context, name string) {
		if name == "capture: end the guest" {
			cancel()
		}
	})
	_, err := h.snaps.Capture(ctx, "base", "one")
	h.onStep(nil)
	if err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	r, err := h.vms.Reserve(soon(t), "base")
	require.NoError(t, err)
	r.Release()
	require.NoError(t, h.vms.Remove(soon(t), h.fork("one", snapshot.Alike()).ID, vm.ForceRemove()))
	require.NoError(t, h.vms.Remove(soon(t), "base"))
	require.NoError(t, h.snaps.DeleteTemplate(soon(t), "one"))
}
