package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestEnds: a program that ends in whatever way ends maqet-exec alike.
func TestEnds(t *testing.T) {
	needQEMU(t)
	ends := binary(t, "ends")
	for name, c := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"panic":                   {[]string{ends, "-test.run=^TestPanics$"}, 2, "--- FAIL: TestPanics", "panic: on purpose"},
		"exit":                    {[]string{ends, "-test.run=^TestExits$"}, 3, "", ""},
		"killed":                  {[]string{ends, "-test.run=^TestKilled$"}, 128 + 9, "", "signal: killed"},
		"time-out":                {[]string{ends, "-test.run=^TestHangs$", "-test.timeout=1s"}, 2, "hanging", "panic: test timed out after 1s"},
		"missing":                 {[]string{ends + "-not"}, 125, "", "ends.test-not"},
		"nothing":                 {nil, 2, "", "no program is given"},
		"flag":                    {[]string{"-memory", "much", ends}, 2, "", "-memory"},
		"no folder for a profile": {[]string{ends, "-test.run=^$", "-test.memprofile=/nowhere/mem"}, 125, "PASS", "/nowhere/mem"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end := run(t, t.TempDir(), environment(shared), append([]string{os.Args[0]}, c.args...)...)
			require.Equal(t, c.code, end.code, "%+v", end)
			require.Contains(t, end.stdout, c.stdout)
			require.Contains(t, end.stderr, c.stderr)
		})
	}
}

// hanging is a process that runs a test which hangs in a guest.
type hanging struct {
	*exec.Cmd
	stderr *strings.Builder
	others []int // pidfds of its children, and theirs: QEMU
}

// hang starts one, by a command line to which the program to run is added.
func hang(t *testing.T, dir string, args ...string) *hanging {
	t.Helper()
	args = append(args, binary(t, "ends"), "-test.run=^TestHangs$")
	h := &hanging{Cmd: exec.Command(args[0], args[1:]...), stderr: &strings.Builder{}}
	h.Env, h.Stderr = environment(dir), h.stderr
	h.Dir = t.TempDir()
	stdout, err := h.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, h.Start())
	t.Cleanup(func() { _ = h.Process.Kill(); _ = h.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && lines.Text() != "hanging" {
		t.Log(lines.Text())
	}
	require.Equal(t, "hanging", lines.Text(), "%s", h.stderr)
	var programs string
	for _, pid := range descendants(t, h.Process.Pid) {
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		require.NoError(t, err)
		programs += string(args) + "\n"
		fd, err := unix.PidfdOpen(pid, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		h.others = append(h.others, fd)
	}
	require.Contains(t, programs, "qemu-system")
	return h
}

// descendants returns the process IDs of a process's children, and theirs.
func descendants(t *testing.T, pid int) (all []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, list := range lists {
		data, _ := os.ReadFile(list) // a thread may have ended
		for _, word := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(word)
			require.NoError(t, err)
			all = append(append(all, child), descendants(t, child)...)
		}
	}
	return all
}

// gone waits until they have ended.
func (h *hanging) gone(t *testing.T) {
	t.Helper()
	for _, fd := range h.others {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(patience.Milliseconds()))
		for err == unix.EINTR {
			n, err = unix.Poll(fds, int(patience.Milliseconds()))
		}
		require.NoError(t, err)
		require.Equal(t, 1, n, "QEMU, or maqet-exec, is still there")
	}
}

// TestSignals: signals reach the program in the guest.
func TestSignals(t *testing.T) {
	needQEMU(t)
	for s, c := range map[syscall.Signal]struct {
		code   int
		stderr string
	}{
		syscall.SIGQUIT: {2, "SIGQUIT: quit"}, // Go shows all goroutines
		syscall.SIGINT:  {128 + 2, "signal: interrupt"},
		syscall.SIGTERM: {128 + 15, "signal: terminated"},
	} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			h := hang(t, shared, os.Args[0])
			require.NoError(t, h.Process.Signal(s))
			require.Error(t, h.Wait())
			require.Equal(t, c.code, h.ProcessState.ExitCode(), "%s", h.stderr)
			require.Contains(t, h.stderr.String(), c.stderr)
			h.gone(t)
		})
	}
}

// TestSignalBeforeTheProgram: a signal ends the wait for a guest.
func TestSignalBeforeTheProgram(t *testing.T) {
	needQEMU(t)
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-boot", binary(t, "ends"), "-test.run=^TestHangs$")
	cmd.Env, cmd.Dir = environment(dir), dir
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool { return len(descendants(t, cmd.Process.Pid)) > 0 }, patience, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	require.Equal(t, 128+15, cmd.ProcessState.ExitCode())
}

// TestKilled: when maqet-exec, or who called it, is killed, the guest goes with it, and the
// next run removes what is left.
func TestKilled(t *testing.T) {
	needQEMU(t)
	for name, prefix := range map[string][]string{
		"itself":     nil,
		"its caller": {"sh", "-c", `"$@"; exit`, "sh"}, // sh stays, to exit
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			h := hang(t, dir, append(prefix, os.Args[0], "-boot")...)
			require.NoError(t, h.Process.Kill())
			h.gone(t)
			end := run(t, dir, environment(dir), os.Args[0], "-boot", "-kernel", "/nowhere", binary(t, "ends"))
			require.Equal(t, exitFailed, end.code)
			require.Contains(t, end.stderr, "/nowhere")
			left, err := os.ReadDir(filepath.Join(dir, "vms"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}
