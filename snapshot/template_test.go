package snapshot_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// templateGuest is a guest to capture: with a disk, a network card and memory laid out for it.
func templateGuest() vm.Config {
	return vm.Config{Name: "base", Template: true, Disks: []vm.Disk{{Size: 64 * vm.MiB}},
		Networks: []vm.Network{{Forwards: []vm.Forward{{Guest: 80}}}}, GenerationID: "auto"}
}

// prepare writes to the guest's memory and its disk.
func (h *house) prepare(ref string) {
	h.t.Helper()
	h.sh(ref, "echo template > /tmp/memory; echo 'template' | dd of=/dev/vda conv=fsync 2>/dev/null")
}

func (h *house) capture(ref, name string, opts ...snapshot.CaptureOption) snapshot.Template {
	h.t.Helper()
	tmpl, err := h.snaps.Capture(soon(h.t), ref, name, opts...)
	require.NoError(h.t, err)
	return tmpl
}

func (h *house) fork(name string, opts ...snapshot.ForkOption) vm.Instance {
	h.t.Helper()
	inst, err := h.snaps.Fork(soon(h.t), name, opts...)
	require.NoError(h.t, err)
	return inst
}

// TestForks: a captured guest goes on in each fork, which has all of its own.
func TestForks(t *testing.T) {
	h := newHouse(t)
	base := h.boot(templateGuest())
	h.prepare("base")
	booted := h.sh("base", "cat /proc/sys/kernel/random/boot_id")
	tmpl := h.capture("base", "one")
	require.True(t, tmpl.Shared)
	t.Logf("the guest stood still for %v", tmpl.Pause)
	inst, err := h.vms.Get(t.Context(), "base")
	require.NoError(t, err)
	require.Equal(t, []any{vm.Stopped, vm.ReasonCaptured}, []any{inst.State, inst.Reason})
	require.NoFileExists(t, base.Runtime.Disks[0].Path, "the disk is the template's now")

	const n = 3
	forks := make([]vm.Instance, n)
	var group errgroup.Group
	for i := range n {
		group.Go(func() (err error) {
			forks[i], err = h.snaps.Fork(soon(t), "one")
			return err
		})
	}
	require.NoError(t, group.Wait())
	seen := map[string]string{}
	unique := func(what, value string) {
		t.Helper()
		require.NotEmpty(t, value)
		require.Empty(t, seen[what+value], "%s %q", what, value)
		seen[what+value] = "seen"
	}
	for i, f := range forks {
		require.Equal(t, "template", h.sh(f.ID, "cat /tmp/memory"), "its memory is the template's")
		require.Equal(t, booted, h.sh(f.ID, "cat /proc/sys/kernel/random/boot_id"), "it was not booted")
		require.Equal(t, "template", h.sh(f.ID, "head -n1 /dev/vda"))
		h.sh(f.ID, fmt.Sprintf("echo fork%d > /tmp/memory; echo fork%d | dd of=/dev/vda conv=fsync 2>/dev/null", i, i))
		unique("MAC", h.sh(f.ID, "cat /sys/class/net/eth0/address"))
		unique("random", h.sh(f.ID, "head -c 16 /dev/urandom | hexdump -v -e '1/1 \"%02x\"'"))
		unique("host name", h.sh(f.ID, "hostname"))
		unique("disk", f.Runtime.Disks[0].Path)
		unique("port", fmt.Sprint(f.Runtime.Forwards["net0"][0].Port))
	}
	for i, f := range forks {
		want := fmt.Sprintf("fork%d", i)
		require.Equal(t, want, h.sh(f.ID, "cat /tmp/memory"))
		require.Equal(t, want, h.sh(f.ID, "head -n1 /dev/vda"))
	}

	// A fork that is reset is the template again.
	again, err := h.snaps.ResetToTemplate(soon(t), forks[0].ID)
	require.NoError(t, err)
	require.Equal(t, forks[0].ID, again.ID)
	require.Equal(t, "template", h.sh(again.ID, "cat /tmp/memory"))
	require.Equal(t, "template", h.sh(again.ID, "head -n1 /dev/vda"))

	err = h.snaps.DeleteTemplate(t.Context(), "one")
	require.ErrorIs(t, err, errors.ErrTemplateInUse)
	require.ErrorContains(t, err, forks[1].Name)
	for _, f := range forks {
		require.NoError(t, h.vms.Remove(soon(t), f.ID, vm.ForceRemove()))
	}
	require.NoError(t, h.snaps.DeleteTemplate(soon(t), "one"))
	_, err = h.snaps.Fork(soon(t), "one")
	require.ErrorIs(t, err, errors.ErrTemplateNotFound)
	h.requireNoTemplate(tmpl)

	// The VM that was captured can be started again, from the beginning.
	h.start("base")
	require.Empty(t, h.sh("base", "cat /tmp/memory 2>/dev/null; head -c 8 /dev/vda | tr -d '\\000'"))
}

// requireNoTemplate fails if anything of a template is left.
func (h *house) requireNoTemplate(tmpl snapshot.Template) {
	h.t.Helper()
	require.NoDirExists(h.t, filepath.Join(h.dir, "templates", tmpl.Name))
	require.NoDirExists(h.t, filepath.Join(h.dir, "images", tmpl.ID))
	entries, err := os.ReadDir(filepath.Join(h.dir, "templates"))
	require.NoError(h.t, err)
	for _, e := range entries {
		require.Equal(h.t, ".locks", e.Name())
	}
}

// TestTemplateTree: a fork is captured again, and its forks have what it had.
func TestTemplateTree(t *testing.T) {
	h := newHouse(t)
	h.boot(templateGuest())
	h.prepare("base")
	h.capture("base", "bare")
	setUp := h.fork("bare", snapshot.ForkForCapture(), snapshot.ForkName("set-up"))
	h.sh("set-up", "echo database >> /tmp/memory; printf 'template\\ndatabase\\n' | dd of=/dev/vda conv=fsync 2>/dev/null")
	// Its memory is in its snapshots, too, although it is not in what a capture saves.
	_, err := h.snaps.Create(soon(t), "set-up", "before")
	require.NoError(t, err)
	h.sh("set-up", "echo broken > /tmp/memory")
	require.NoError(t, h.snaps.Load(soon(t), "set-up", "before"))
	require.Equal(t, "template\ndatabase", h.sh("set-up", "cat /tmp/memory"))
	child := h.capture("set-up", "database")
	require.True(t, child.Shared)
	require.Equal(t, "bare", child.Parent)
	require.ErrorContains(t, h.snaps.DeleteTemplate(t.Context(), "bare"), "database")
	require.NoError(t, h.vms.Remove(soon(t), setUp.ID))
	for name, want := range map[string]string{"bare": "template", "database": "template\ndatabase"} {
		f := h.fork(name)
		require.Equal(t, want, h.sh(f.ID, "cat /tmp/memory"), name)
		require.Equal(t, want, h.sh(f.ID, fmt.Sprintf("head -n%d /dev/vda", 1+strings.Count(want, "\n"))), name)
		require.NoError(t, h.vms.Remove(soon(t), f.ID, vm.ForceRemove()))
	}
	require.NoError(t, h.snaps.DeleteTemplate(soon(t), "database"))
	require.NoError(t, h.snaps.DeleteTemplate(soon(t), "bare"))
}

// TestTemplateOfAnyGuest: the memory of a guest that was not laid out for it is copied.
func TestTemplateOfAnyGuest(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "plain", Disks: []vm.Disk{{Size: 64 * vm.MiB}}})
	h.prepare("plain")
	live, err := h.vms.Live(t.Context(), "plain")
	require.NoError(t, err)
	require.NoError(t, qapi.Stop(t.Context(), live.QMP())) // a paused one can be captured, too
	tmpl := h.capture("plain", "copied", snapshot.KeepTemplate(vm.Persistent))
	require.False(t, tmpl.Shared)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			f, err := h.snaps.Fork(soon(t), "copied")
			if !errorIsNil(t, err) {
				return
			}
			res := h.sh(f.ID, "cat /tmp/memory; head -n1 /dev/vda")
			if res != "template\ntemplate" {
				t.Errorf("the fork has %q", res)
			}
		})
	}
	group.Wait()
}

func errorIsNil(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// TestPersistentTemplate: it is there for other processes, and after the one that captured it.
func TestPersistentTemplate(t *testing.T) {
	h := newHouse(t)
	cfg := templateGuest()
	cfg.Lifetime = vm.Persistent
	h.boot(cfg)
	h.prepare("base")
	tmpl := h.capture("base", "kept")
	require.Equal(t, vm.Persistent, tmpl.Lifetime)
	require.NoError(t, h.templates.Close())
	other := h.another()
	f := other.fork("kept")
	require.Equal(t, "template\ntemplate", other.sh(f.ID, "cat /tmp/memory; head -n1 /dev/vda"))
	require.NoError(t, other.vms.Remove(soon(t), f.ID, vm.ForceRemove()))

	// The VM goes on from its disk, on a layer of its own.
	other.start("base")
	require.Equal(t, "template", other.sh("base", "head -n1 /dev/vda; cat /tmp/memory 2>/dev/null || true"))
	other.sh("base", "echo changed | dd of=/dev/vda conv=fsync 2>/dev/null")
	f = other.fork("kept")
	require.Equal(t, "template", other.sh(f.ID, "head -n1 /dev/vda"))
	require.NoError(t, other.vms.Remove(soon(t), f.ID, vm.ForceRemove()))

	// What is not what was saved is refused.
	for _, file := range []string{"state", "memory"} {
		path := filepath.Join(h.dir, "templates", "kept", file)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, int64(len(data))/2))
		_, err = other.snaps.Fork(soon(t), "kept")
		require.ErrorIs(t, err, errors.ErrTemplateMismatch, file)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		if file == "state" {
			f := other.fork("kept")
			require.NoError(t, other.vms.Remove(soon(t), f.ID, vm.ForceRemove()), "as it was again")
		}
	}
	list, err := other.vms.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Len(t, list, 1, "nothing is left of forks that were refused")
	require.ErrorContains(t, other.snaps.DeleteTemplate(soon(t), "kept"), "VM base", "it goes on from there")
	require.NoError(t, other.vms.Remove(soon(t), "base", vm.ForceRemove(), vm.DeleteImages()))
	require.NoError(t, other.snaps.DeleteTemplate(soon(t), "kept"))
	require.NoDirExists(t, filepath.Join(h.dir, "templates", "kept"))
}

// TestCaptureRefused: the guest goes on, and there is nothing of the template.
func TestCaptureRefused(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "base", Template: true})
	for _, name := range []string{"", "no/name", ".hidden"} {
		_, err := h.snaps.Capture(soon(t), "base", name)
		require.ErrorIs(t, err, errors.ErrConfiguration, "%q", name)
	}
	_, err := h.snaps.Capture(soon(t), "nobody", "x")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	require.Equal(t, "here", h.sh("base", "echo here"))
	tmpl := h.capture("base", "x")
	_, err = h.snaps.Capture(soon(t), "base", "y")
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
	h.boot(vm.Config{Name: "second"})
	_, err = h.snaps.Capture(soon(t), "second", "x")
	require.ErrorIs(t, err, errors.ErrTemplateExists)
	require.Equal(t, "here", h.sh("second", "echo here"))
	require.NoError(t, h.snaps.DeleteTemplate(soon(t), "x"))
	h.requireNoTemplate(tmpl)
}
