package maqet_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// TestQuickstart does what the README does, step by step, and then looks for anything
// that is left.
func TestQuickstart(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	ctx := t.Context()
	g, err := m.Run(ctx, vm.Config{Name: "quick"})
	require.NoError(t, err)

	res, err := g.Exec(ctx, "uname", "-s")
	require.NoError(t, err)
	require.Equal(t, "Linux\n", string(res.Stdout))

	require.NoError(t, g.WriteFile(ctx, "/tmp/note", []byte("in"), 0o640))
	back, err := g.ReadFile(ctx, "/tmp/note")
	require.NoError(t, err)
	require.Equal(t, "in", string(back))

	inst, err := g.Instance(ctx)
	require.NoError(t, err)
	require.Equal(t, vm.Running, inst.State)
	require.NotEmpty(t, processesOf(t, dir))

	rep, err := g.Stop(ctx)
	require.NoError(t, err)
	require.True(t, rep.Graceful, "%+v", rep)
	inst, err = g.Instance(ctx)
	require.NoError(t, err)
	require.Equal(t, vm.Stopped, inst.State)
	require.NoError(t, m.Close())
	requireNothingLeft(t, dir)
}

// TestDefaultGuest works in one guest in every way the facade offers.
func TestDefaultGuest(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	g, err := m.Run(t.Context(), vm.Config{Disks: []vm.Disk{{Size: 64 * vm.MiB, Serial: "DATA"}}, CPU: vm.CPU{Count: 2}})
	require.NoError(t, err)

	t.Run("command", func(t *testing.T) {
		var out, errOut bytes.Buffer
		res, err := g.Command(t.Context(), guest.Command{
			Args: []string{"sh", "-c", `cat; echo "$GREETING from $PWD"; echo bad >&2; exit 3`},
			Env:  []string{"GREETING=hello", "PATH=/bin"}, Dir: "/tmp", Stdin: strings.NewReader("typed\n"),
			Stdout: &out, Stderr: &errOut,
		})
		var failed *errors.CommandError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 3, res.ExitCode)
		require.Equal(t, 3, failed.ExitCode)
		require.Equal(t, "typed\nhello from /tmp\n", out.String())
		require.Equal(t, "bad\n", errOut.String())
	})
	t.Run("host name", func(t *testing.T) {
		res, err := g.Exec(t.Context(), "hostname")
		require.NoError(t, err)
		require.Equal(t, g.Name()+"\n", string(res.Stdout))
	})
	t.Run("signal", func(t *testing.T) {
		res, err := g.Exec(t.Context(), "sh", "-c", "kill -TERM $$")
		require.ErrorIs(t, err, errors.ErrCommandFailed)
		require.Equal(t, 15, res.Signal)
	})
	t.Run("time-out kills", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := g.Exec(ctx, "sleep", "4321")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Eventually(t, func() bool {
			_, err := g.Exec(t.Context(), "pgrep", "-f", "sleep 4321")
			return errors.Is(err, errors.ErrCommandFailed)
		}, 20*time.Second, 100*time.Millisecond)
	})
	t.Run("disk", func(t *testing.T) {
		res, err := g.Exec(t.Context(), "cat", "/sys/block/vda/serial", "/sys/block/vda/size")
		require.NoError(t, err)
		require.Equal(t, "DATA131072\n", strings.ReplaceAll(string(res.Stdout), "\nDATA", "DATA"))
	})
	t.Run("two CPUs", func(t *testing.T) {
		res, err := g.Exec(t.Context(), "nproc")
		require.NoError(t, err)
		require.Equal(t, "2\n", string(res.Stdout))
	})
	t.Run("trees", func(t *testing.T) {
		src := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(src, "a/b"), 0o755))
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
		require.NoError(t, os.WriteFile(filepath.Join(src, "a/b/big"), big, 0o640))
		require.NoError(t, os.WriteFile(filepath.Join(src, "run.sh"), []byte("#!/bin/sh\necho ran\n"), 0o755))
		require.NoError(t, os.Symlink("a/b/big", filepath.Join(src, "link")))
		require.NoError(t, g.CopyTo(t.Context(), src, "/tmp/tree"))
		res, err := g.Exec(t.Context(), "/tmp/tree/run.sh")
		require.NoError(t, err)
		require.Equal(t, "ran\n", string(res.Stdout))
		dst := filepath.Join(t.TempDir(), "back")
		require.NoError(t, g.CopyFrom(t.Context(), "/tmp/tree", dst))
		got, err := os.ReadFile(filepath.Join(dst, "a/b/big"))
		require.NoError(t, err)
		require.True(t, bytes.Equal(big, got))
		link, err := os.Readlink(filepath.Join(dst, "link"))
		require.NoError(t, err)
		require.Equal(t, "a/b/big", link)
		info, err := os.Stat(filepath.Join(dst, "a/b/big"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o640), info.Mode())
	})
	t.Run("pause and resume", func(t *testing.T) {
		require.NoError(t, g.Pause(t.Context()))
		_, err := g.Wait(t.Context(), vm.Paused)
		require.NoError(t, err)
		require.NoError(t, g.Resume(t.Context()))
		_, err = g.Wait(t.Context(), vm.Running)
		require.NoError(t, err)
		_, err = g.Exec(t.Context(), "true")
		require.NoError(t, err)
	})
	t.Run("reset", func(t *testing.T) {
		_, err := g.Exec(t.Context(), "touch", "/tmp/before")
		require.NoError(t, err)
		require.NoError(t, g.Reset(t.Context()))
		require.Eventually(t, func() bool {
			_, err := g.Exec(t.Context(), "test", "!", "-e", "/tmp/before")
			return err == nil
		}, 2*time.Minute, 200*time.Millisecond)
	})
	t.Run("conditions", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, g.WaitFor(ctx, guest.FileExists("/proc/version"), guest.CommandSucceeds("true")))
	})
	t.Run("console", func(t *testing.T) {
		console, err := g.Console()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = g.Exec(ctx, "sh", "-c", "echo to the console > /dev/console")
		require.NoError(t, err)
		_, err = console.ExpectText(ctx, "to the console")
		require.NoError(t, err)
	})
	t.Run("poweroff from inside", func(t *testing.T) {
		_, _ = g.Exec(t.Context(), "sh", "-c", "(sleep 0.2; poweroff -f) &")
		inst, err := g.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, vm.Stopped, inst.State)
		require.Equal(t, vm.ReasonGuestShutdown, inst.Reason)
		_, err = g.Exec(t.Context(), "true")
		require.ErrorIs(t, err, errors.ErrVMNotRunning)
	})
}
