package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

func requireNotRunning(t testing.TB, err error) {
	t.Helper()
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
}

// stranger is a process that is none of ours. It has these arguments.
func stranger(t *testing.T, args ...string) proc.ID {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if len(args) > 0 {
		cmd = exec.Command("/bin/sh", append([]string{"-c", "while :; do read x; done"}, args...)...)
		_, err := cmd.StdinPipe()
		require.NoError(t, err)
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	id, err := proc.Of(cmd.Process.Pid)
	require.NoError(t, err)
	return id
}

// TestIdentity: what differs in anything from the record is not the guest, and is not
// touched.
func TestIdentity(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	ours := record(spec, g)
	sleeping := stranger(t)
	zombie := exec.Command("true")
	require.NoError(t, zombie.Start())
	defer func() { _ = zombie.Wait() }()
	for name, change := range map[string]func(*vm.Instance){
		"start time":      func(i *vm.Instance) { i.Runtime.Process.StartTime++ },
		"boot":            func(i *vm.Instance) { i.Runtime.Process.BootID = uuid.NewString() },
		"PID of a sleep":  func(i *vm.Instance) { i.Runtime.Process.PID = sleeping.PID },
		"record of sleep": func(i *vm.Instance) { i.Runtime.Process = vm.Process(sleeping) },
		"other UUID":      func(i *vm.Instance) { i.ID = uuid.NewString() },
		"no UUID":         func(i *vm.Instance) { i.ID = "" },
		"no such PID":     func(i *vm.Instance) { i.Runtime.Process.PID = 1 << 30 },
		"negative PID":    func(i *vm.Instance) { i.Runtime.Process.PID = -1 },
		"zombie":          func(i *vm.Instance) { i.Runtime.Process.PID = zombie.Process.Pid },
		"nothing known":   func(i *vm.Instance) { i.ID, i.Runtime = uuid.NewString(), vm.Runtime{} },
	} {
		t.Run(name, func(t *testing.T) {
			fds := openFiles(t)
			other := ours
			change(&other)
			_, err := h.b.Attach(t.Context(), other)
			requireNotRunning(t, err)
			require.Equal(t, fds, openFiles(t))
		})
	}
	require.True(t, proc.Alive(sleeping))
	require.False(t, g.proc.gone())
	ask[any](t, g, "query-status", nil)
}

// TestSearch finds the guest by its UUID, and not what only has it among its arguments.
func TestSearch(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{})
	inst := vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config}
	decoys := []proc.ID{stranger(t, "debugger", "qemu", "-name", "guest=x", "-uuid", spec.ID), stranger(t, "-uuid", spec.ID)}
	_, err := h.b.Attach(t.Context(), inst)
	requireNotRunning(t, err)
	g := h.launch(spec)
	found, err := h.b.Attach(t.Context(), inst)
	require.NoError(t, err)
	want := g.Runtime()
	require.Equal(t, want, found.Runtime())
	require.NoError(t, found.Release())
	for _, d := range decoys {
		require.True(t, proc.Alive(d))
	}
}

func TestAttachIsCancelled(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	promptly(t, func() {
		_, err := h.b.Attach(ctx, record(spec, g))
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, errors.ErrVMNotRunning)
	})
}

// TestCleanAndErase remove what is the backend's, twice without harm, and nothing else.
func TestCleanAndErase(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	inst, dir, logs := record(spec, g), g.runtime.Dir, h.b.files(spec.ID).logDir
	require.NoError(t, g.proc.signal(9))
	gone(t, g.Done())
	require.NoError(t, g.Release())
	foreign := []string{filepath.Join(dir, "note.txt"), filepath.Join(logs, "note.txt")}
	for _, f := range foreign {
		require.NoError(t, os.WriteFile(f, nil, 0o600))
	}
	require.NoError(t, h.b.Clean(t.Context(), inst))
	require.NoError(t, h.b.Clean(t.Context(), inst))
	require.Equal(t, []string{foreign[0]}, filesBelow(t, dir))
	require.FileExists(t, g.runtime.Console, "Clean keeps the logs")
	require.NoError(t, h.b.Erase(t.Context(), inst))
	require.NoError(t, h.b.Erase(t.Context(), inst))
	require.Equal(t, []string{foreign[1]}, filesBelow(t, logs))
	for _, f := range foreign {
		require.NoError(t, os.Remove(f))
	}
	require.NoError(t, h.b.Erase(t.Context(), inst))
	require.NoDirExists(t, dir)
	require.NoDirExists(t, logs)
	require.NoError(t, h.b.Erase(t.Context(), vm.Instance{ID: uuid.NewString()}), "a VM that never started")
}

// TestCleanElsewhere: a guest that was started with another runtime folder is cleaned
// where its record says it is.
func TestCleanElsewhere(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	inst := record(spec, g)
	require.NoError(t, g.proc.signal(9))
	gone(t, g.Done())
	require.NoError(t, g.Release())
	other, err := New(Options{RuntimeDir: filepath.Join(h.dir, "other"), LogDir: filepath.Join(h.dir, "other-logs"), CacheDir: probes})
	require.NoError(t, err)
	require.NoError(t, other.Erase(t.Context(), inst))
	require.NoDirExists(t, g.runtime.Dir)
	require.NoFileExists(t, g.runtime.Stderr)
	require.NoError(t, other.Close())
}
