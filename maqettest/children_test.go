package maqettest

import (
	"bufio"
	"encoding/json"
	"errors"
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

	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/vm"
)

// childEnv has TestChild play a test of another program, in one of several ways.
const childEnv = "MAQETTEST_CHILD"

// say tells something to the test that has started this process.
func say(t *testing.T, what string, value any) {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	_, err = os.Stdout.WriteString("\n" + what + " " + string(data) + "\n")
	require.NoError(t, err)
}

// child is a run of this test program as another one.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChild(t *testing.T, role string, args ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-test.run=^TestChild$"}, args...)...)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell does, for Ctrl-C
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	return &child{cmd, lines}
}

// hear reads what the child says.
func (c *child) hear(t *testing.T, what string, value any) {
	t.Helper()
	var log []string
	for c.lines.Scan() {
		if text, ok := strings.CutPrefix(c.lines.Text(), what+" "); ok {
			require.NoError(t, json.Unmarshal([]byte(text), value))
			return
		}
		log = append(log, c.lines.Text())
	}
	require.Fail(t, "the child did not say "+what, strings.Join(log, "\n"))
}

// wait returns when the child has ended, with what else it has said. That its output ends shows
// that nobody has inherited it.
func (c *child) wait() (log string, err error) {
	var b strings.Builder
	for c.lines.Scan() {
		b.WriteString(c.lines.Text() + "\n")
	}
	return b.String(), c.cmd.Wait()
}

// watched is a process that is looked at until it has ended.
type watched int

func watch(t *testing.T, pid int) watched {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return watched(fd)
}

// requireEnd fails if the process does not end in time.
func (w watched) requireEnd(t *testing.T, limit time.Duration, what string) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(w), Events: unix.POLLIN}}
	deadline := time.Now().Add(limit)
	n, err := unix.Poll(fds, int(limit.Milliseconds()))
	for err == unix.EINTR {
		n, err = unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())))
	}
	require.NoError(t, err)
	require.Equal(t, 1, n, "%s still runs", what)
}

// guardians returns the processes that watch over a folder.
func guardians(t *testing.T, dir string) (pids []int) {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, p := range procs {
		args, err := os.ReadFile(p + "/cmdline")
		if err == nil && strings.HasSuffix(string(args), "\x00maqettest-guardian\x00"+dir+"\x00") {
			pid, err := strconv.Atoi(filepath.Base(p))
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// requireGone fails unless nothing is left of the folders in temp, in time.
func requireGone(t *testing.T, temp string) {
	t.Helper()
	require.Eventually(t, func() bool {
		left, err := os.ReadDir(temp)
		return err == nil && len(left) == 0
	}, 30*time.Second, 10*time.Millisecond, "folders are left")
}

func TestChild(t *testing.T) {
	var g *Guest
	role := os.Getenv(childEnv)
	switch role {
	case "":
		return // it is another test that runs it
	case "folder":
		d, err := newDir()
		require.NoError(t, err)
		say(t, "FOLDER", d.path)
		select {}
	case "boot":
		g = Boot(t)
	default:
		g = NewTemplate().Fork(t)
	}
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	say(t, "INSTANCE", inst)
	say(t, "FOLDER", g.home.dir)
	if role == "panic" {
		go panic("as -test.timeout does")
	}
	if role == "boot" || role == "fork" || role == "panic" {
		select {}
	}
}

// TestEndsOfPrograms: however a test program ends, it takes its guests with it, their folder, and
// the guardian of that.
func TestEndsOfPrograms(t *testing.T) {
	needQEMU(t)
	for _, c := range []struct {
		what, role string
		end        func(c *child) error // of the program; nil: it ends by itself
		ok         bool
	}{
		{what: "Fork, killed", role: "fork", end: func(c *child) error { return c.cmd.Process.Kill() }},
		{what: "Boot, Ctrl-C", role: "boot", end: func(c *child) error { return unix.Kill(-c.cmd.Process.Pid, unix.SIGINT) }},
		{what: "Fork, panics", role: "panic"},
		{what: "Fork, without Main", role: "exit", ok: true},
		{what: "Fork, with Main", role: "main", ok: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			temp := ownTemp(t)
			child := startChild(t, c.role)
			var inst vm.Instance
			child.hear(t, "INSTANCE", &inst)
			var dir string
			child.hear(t, "FOLDER", &dir)
			if c.end != nil {
				pids := guardians(t, dir)
				require.Len(t, pids, 1)
				guardian, qemu := watch(t, pids[0]), watch(t, inst.Runtime.Process.PID)
				require.NoError(t, c.end(child))
				qemu.requireEnd(t, 30*time.Second, "QEMU")
				guardian.requireEnd(t, 30*time.Second, "the guardian")
			}
			log, err := child.wait()
			require.Equal(t, c.ok, err == nil, "%v\n%s", err, log)
			if c.role == "main" {
				require.NoDirExists(t, dir, "Main waits for it")
			}
			requireGone(t, temp)
			require.Eventually(t, func() bool { return len(guardians(t, dir)) == 0 }, 30*time.Second, 10*time.Millisecond)
			requireNoQEMU(t, dir)
		})
	}
}

// TestGuardianSparesOthers: a folder that is not the one any more is left alone, even if its
// path is the same.
func TestGuardianSparesOthers(t *testing.T) {
	temp := ownTemp(t)
	for _, c := range []struct {
		what  string
		other func(dir string) error
	}{
		{"another folder", func(dir string) error { return os.Mkdir(dir, 0o700) }},
		{"a link to another folder", func(dir string) error {
			target := filepath.Join(filepath.Dir(dir), "target")
			return errors.Join(os.Mkdir(target, 0o700), os.WriteFile(filepath.Join(target, "precious"), nil, 0o600), os.Symlink(target, dir))
		}},
	} {
		child := startChild(t, "folder")
		var dir string
		child.hear(t, "FOLDER", &dir)
		watched := watch(t, guardians(t, dir)[0])
		away := filepath.Join(temp, "moved")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600))
		require.NoError(t, os.Rename(dir, away), "somebody keeps it")
		require.NoError(t, c.other(dir))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600))

		require.NoError(t, child.cmd.Process.Kill())
		watched.requireEnd(t, 30*time.Second, "the guardian")
		require.FileExists(t, filepath.Join(dir, "precious"), c.what)
		require.FileExists(t, filepath.Join(away, "mine"), c.what)
		for _, path := range []string{away, dir, filepath.Join(temp, "target")} {
			require.NoError(t, os.RemoveAll(path))
		}
	}
}

// TestGuardianRemovesEverything that a folder can have in it, and nothing that it leads to.
func TestGuardianRemovesEverything(t *testing.T) {
	outside := t.TempDir() // not in the one of ownTemp
	temp := ownTemp(t)
	require.NoError(t, os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600))
	child := startChild(t, "folder")
	var dir string
	child.hear(t, "FOLDER", &dir)
	for _, name := range []string{".hidden", "..odd", "...", "-rf", "a b", "*", "$(touch x)", "line\nbreak", ".x/.y"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.NoError(t, child.cmd.Process.Kill())
	requireGone(t, temp)
	require.FileExists(t, filepath.Join(outside, "kept"))
}

// TestGuardianAfterTimeout: a test program that is out of time panics, and cleans nothing up.
func TestGuardianAfterTimeout(t *testing.T) {
	temp := ownTemp(t)
	child := startChild(t, "folder", "-test.timeout=500ms")
	log, err := child.wait()
	require.Error(t, err)
	require.Contains(t, log, "test timed out")
	requireGone(t, temp)
}

// TestGuardianEnds with the folder that it watches over. Its session is its own.
func TestGuardianEnds(t *testing.T) {
	ownTemp(t)
	d, err := newDir()
	require.NoError(t, err)
	pids := guardians(t, d.path)
	require.Len(t, pids, 1)
	sid, err := unix.Getsid(pids[0])
	require.NoError(t, err)
	require.Equal(t, pids[0], sid)
	for _, fd := range []string{"1", "2"} {
		target, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pids[0]), "fd", fd))
		require.NoError(t, err)
		require.Equal(t, os.DevNull, target)
	}
	ended := watch(t, pids[0])
	require.NoError(t, d.remove())
	ended.requireEnd(t, 0, "the guardian")
	require.NoDirExists(t, d.path)
}

// TestSweep: what a test left whose guardian was killed as well goes with the next folder that
// is made. What a test uses stays.
func TestSweep(t *testing.T) {
	ownTemp(t)
	used, err := newDir()
	require.NoError(t, err)
	left, err := newDir()
	require.NoError(t, err)
	left.guard.cmd.Process.Kill()
	left.guard.end()
	require.NoError(t, left.lock.Unlock())
	require.DirExists(t, left.path)

	next, err := newDir()
	require.NoError(t, err)
	require.NoDirExists(t, left.path)
	require.DirExists(t, used.path)
	_, err = flock.Try(filepath.Join(used.path, ownerFile))
	require.ErrorIs(t, err, flock.ErrHeld)
	require.NoError(t, next.remove())
	require.NoError(t, used.remove())
}
