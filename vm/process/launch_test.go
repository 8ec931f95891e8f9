package process

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

func TestLaunch(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{})
	g := h.launch(spec)
	events := g.QMP().Subscribe()
	defer events.Close()
	require.Equal(t, errors.ExitStatus{}, g.Exit())
	require.NoError(t, g.Connect(t.Context()))

	rt := g.Runtime()
	require.True(t, proc.Alive(proc.ID(rt.Process)))
	require.Equal(t, Name, rt.Backend)
	require.Contains(t, rt.Machine, "pc-q35-", "the versioned name")
	require.Equal(t, spec.ID, ask[struct{ UUID string }](t, g, "query-uuid", nil).UUID)
	require.False(t, ask[struct{ Running bool }](t, g, "query-status", nil).Running, "halted until Continue")

	require.NoError(t, g.Continue(t.Context()))
	require.Equal(t, "RESUME", (<-events.C()).Name)
	rt.Sockets["qmp0"] = "changed"
	require.NotEqual(t, rt.Sockets, g.Runtime().Sockets, "Runtime returns a copy")

	require.NoError(t, rung(g, "quit").Run(t.Context()))
	gone(t, g.Done())
	require.Equal(t, errors.ExitStatus{Known: true}, g.Exit())
	require.False(t, proc.Alive(proc.ID(rt.Process)))
	_, err := g.QMP().Execute(t.Context(), "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.NoError(t, g.Release())
	require.NoError(t, g.Release())
}

// TestEndsAtOnce: QEMU's exit status and its own last words come with the first error.
func TestEndsAtOnce(t *testing.T) {
	h := newHouse(t)
	for name, args := range map[string][]string{
		"unknown device":  {"-device", "no-such-device"},
		"unknown option":  {"-no-such-option"},
		"option unended":  {"-device"},
		"bad device prop": {"-device", "virtio-rng-pci,no-such-prop=1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &house{t: t, b: h.b, dir: h.dir}
			g := h.launch(specOf(vm.Config{Args: args}))
			begun := time.Now()
			err := g.Connect(t.Context())
			require.ErrorIs(t, err, errors.ErrQMPConnection)
			require.ErrorContains(t, err, "exit status 1")
			require.ErrorContains(t, err, args[0][1:], "what QEMU printed")
			gone(t, g.Done())
			require.Equal(t, errors.ExitStatus{Known: true, Code: 1}, g.Exit())
			require.Less(t, time.Since(begun), 5*time.Second)
		})
	}
}

// TestLaunchFails: nothing is left of a launch that failed.
func TestLaunchFails(t *testing.T) {
	h := newHouse(t)
	require.NoError(t, h.b.Check(t.Context(), fixedID, vm.Config{})) // QEMU was asked
	fds := openFiles(t)
	for name, broken := range map[string]func(t *testing.T, spec *vm.LaunchSpec) context.Context{
		"cancelled": func(t *testing.T, _ *vm.LaunchSpec) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		},
		"socket folder is a file": func(t *testing.T, spec *vm.LaunchSpec) context.Context {
			path := h.b.vmDir(spec.ID)
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			t.Cleanup(func() { require.NoError(t, os.Remove(path)) })
			return t.Context()
		},
		"log is a folder": func(t *testing.T, spec *vm.LaunchSpec) context.Context {
			path := h.b.files(spec.ID).console
			require.NoError(t, os.MkdirAll(filepath.Join(path, "sub"), 0o700))
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(path)) })
			return t.Context()
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specOf(vm.Config{})
			_, err := h.b.Launch(broken(t, &spec), spec)
			require.Error(t, err)
			require.ErrorIs(t, err, errors.ErrVMStart)
			require.Empty(t, processesOf(t, h.dir))
			require.NoDirExists(t, h.b.vmDir(spec.ID))
			require.NoFileExists(t, h.b.files(spec.ID).stderr)
			require.Equal(t, fds, openFiles(t))
		})
	}
}

// TestLaunchTwice: the sockets of the guest that lives stay, and it goes on.
func TestLaunchTwice(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	_, err := h.b.Launch(t.Context(), spec)
	require.ErrorIs(t, err, errors.ErrVMStart)
	require.ErrorContains(t, err, "address already in use")
	conn, err := g.Dial(t.Context(), vm.ChannelConsole, false)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestFileModes(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	for path, mode := range map[string]os.FileMode{
		g.runtime.Dir:             os.ModeDir | 0o700,
		h.b.files(spec.ID).logDir: os.ModeDir | 0o700,
		g.runtime.Console:         0o600,
		g.runtime.Stderr:          0o600,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), path)
	}
	require.Len(t, g.runtime.Sockets, 6)
	for name, path := range g.runtime.Sockets {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.ModeSocket|0o600, info.Mode(), name)
	}
}

func TestConnectIsCancelled(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{})
	g := h.launch(spec)
	require.NoError(t, g.proc.signal(19)) // SIGSTOP: it will not greet
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	err := g.Connect(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	promptly(t, func() { require.ErrorIs(t, g.Connect(ctx), context.Canceled) })
	require.NoError(t, g.proc.signal(18))
	require.NoError(t, g.Connect(t.Context()), "the monitor is free again")
}

// TestCloseWhileLaunching: whatever Launch returned, nothing of it runs after Close.
func TestCloseWhileLaunching(t *testing.T) {
	h := newHouse(t)
	for range 5 {
		b := h.open()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				spec := specOf(vm.Config{})
				g, err := b.Launch(t.Context(), spec)
				if err != nil {
					return
				}
				_ = g.Connect(t.Context())
				<-g.Done()
				if err := g.Release(); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(20 * time.Millisecond) // any moment will do
		require.NoError(t, b.Close())
		require.Empty(t, processesOf(t, h.dir))
		wg.Wait()
		require.Empty(t, filesBelow(t, filepath.Join(h.dir, "run")))
		_, err := b.Launch(t.Context(), specOf(vm.Config{}))
		require.ErrorContains(t, err, "closed")
	}
}

// TestReleasedGuestIsReaped: a guest that nobody holds any more ends without leaving a
// zombie, a descriptor or a goroutine.
func TestReleasedGuestIsReaped(t *testing.T) {
	h := newHouse(t)
	for _, lifetime := range []vm.Lifetime{vm.Ephemeral, vm.Persistent} {
		t.Run(string(lifetime), func(t *testing.T) {
			spec := specOf(vm.Config{Lifetime: lifetime})
			got, err := h.b.Launch(t.Context(), spec)
			require.NoError(t, err)
			g := got.(*guest)
			require.NoError(t, g.Connect(t.Context()))
			require.NoError(t, g.Release())
			require.True(t, proc.Alive(proc.ID(g.runtime.Process)))

			again, err := h.b.Attach(t.Context(), record(spec, g))
			require.NoError(t, err)
			require.NoError(t, rung(again, "sigkill").Run(t.Context()))
			gone(t, again.Done())
			gone(t, g.Done())
			_, err = os.Stat(filepath.Join("/proc", fmtInt(g.runtime.Process.PID)))
			require.ErrorIs(t, err, os.ErrNotExist, "reaped")
			require.NoError(t, again.Release())
			require.NoError(t, h.b.Clean(t.Context(), record(spec, g)))
		})
	}
}
