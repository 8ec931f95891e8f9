package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestCaptureGivenUp: wherever a capture is given up before the guest was ended that goes on,
// with its disk, and nothing is left of the template.
func TestCaptureGivenUp(t *testing.T) {
	h := newHouse(t)
	cfg := templateGuest()
	cfg.Lifetime = vm.Persistent
	h.boot(cfg)
	h.prepare("base")
	for _, at := range []string{"capture: halt", "capture: save", "capture: write memory"} {
		ctx, cancel := context.WithCancel(soon(t))
		reached := false
		h.onStep(func(_ context.Context, step string) {
			if step == at {
				reached = true
				cancel()
			}
		})
		_, err := h.snaps.Capture(ctx, "base", "none")
		require.ErrorIs(t, err, context.Canceled, at)
		require.NoError(t, h.snaps.Mend(soon(t), "base"), "once it is undone")
		h.onStep(nil)
		require.True(t, reached, at)
		require.Equal(t, "template", h.sh("base", "cat /tmp/memory"), at)
		h.sh("base", "echo 'template' | dd of=/dev/vda conv=fsync 2>/dev/null")
		entries, err := os.ReadDir(filepath.Join(h.dir, "templates"))
		require.NoError(t, err)
		require.Len(t, entries, 1, "%s: the locks only", at)
	}
	_, err := h.snaps.Create(soon(t), "base", "whole", snapshot.DiskOnly())
	require.NoError(t, err, "its images are its own")
}

// TestCaptureKeepsSnapshots: those in the image of a disk that is kept would be lost to the VM.
func TestCaptureKeepsSnapshots(t *testing.T) {
	h := newHouse(t)
	cfg := templateGuest()
	cfg.Lifetime = vm.Persistent
	h.boot(cfg)
	_, err := h.snaps.Create(soon(t), "base", "mine")
	require.NoError(t, err)
	_, err = h.snaps.Capture(soon(t), "base", "one")
	var blocked *snapshot.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.Equal(t, "disk0", blocked.Blockers[0].Device)
	require.Equal(t, []string{"mine"}, h.names("base"))
	require.NoError(t, h.snaps.Delete(soon(t), "base", "mine"))
	h.capture("base", "one")
}

// TestCaptureOverSomethingElse: a folder that is no template keeps its name, and the guest goes on.
func TestCaptureOverSomethingElse(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "base", Template: true})
	other := filepath.Join(h.dir, "templates", "taken", "file")
	require.NoError(t, os.MkdirAll(filepath.Dir(other), 0o700))
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	_, err := h.snaps.Capture(soon(t), "base", "taken")
	require.ErrorContains(t, err, filepath.Dir(other))
	require.Equal(t, "here", h.sh("base", "echo here"))
	require.FileExists(t, other)

	// Of two in one process each closes what was captured through it.
	tmpl := h.capture("base", "one")
	second := h.another()
	require.NoError(t, second.templates.Close())
	f := h.fork("one", snapshot.ForkName("fork"))
	require.NoError(t, h.vms.Remove(soon(t), f.ID, vm.ForceRemove()))

	// A copy of a template's folder is none, and to delete it leaves the template alone.
	copied := filepath.Join(h.dir, "templates", "copy")
	require.NoError(t, os.CopyFS(copied, os.DirFS(filepath.Join(h.dir, "templates", "one"))))
	_, err = h.snaps.Fork(soon(t), "copy")
	require.ErrorContains(t, err, "one")
	require.NoError(t, h.snaps.DeleteTemplate(soon(t), "copy"))
	require.NoDirExists(t, copied)
	got, err := h.snaps.Template(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, tmpl.ID, got.ID)
}

// TestSweepWhileItIsPublished: a sweep takes nothing of a template that gets its name at that
// moment.
func TestSweepWhileItIsPublished(t *testing.T) {
	h := newHouse(t)
	h.boot(templateGuest())
	h.prepare("base")
	other, stop, swept := h.another(), make(chan struct{}), make(chan error, 1)
	h.onStep(func(_ context.Context, step string) {
		if step != "capture: publish" {
			return
		}
		go func() {
			for {
				removed, err := other.templates.Sweep(context.Background())
				select {
				case <-stop:
					swept <- err
					return
				default:
				}
				if err != nil || len(removed) > 0 {
					t.Errorf("swept %s: %v", strings.Join(removed, ", "), err)
				}
			}
		}()
		time.Sleep(10 * time.Millisecond)
	})
	h.capture("base", "one")
	close(stop)
	require.NoError(t, <-swept)
	f := h.fork("one")
	require.Equal(t, "template", h.sh(f.ID, "head -n1 /dev/vda"))
}
