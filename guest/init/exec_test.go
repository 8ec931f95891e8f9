package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/maqet/maqet/guest/wire"
	"github.com/stretchr/testify/require"
)

// shell executes a shell script and returns what it prints.
func shell(t *testing.T, s *wire.Session, script string) (string, wire.ExecResult) {
	t.Helper()
	var out bytes.Buffer
	res, err := s.Exec(within(t, 10*time.Second), wire.ExecRequest{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	require.NoError(t, err)
	return out.String(), res
}

func TestExecResults(t *testing.T) {
	s := connect(t)
	for script, want := range map[string]wire.ExecResult{
		"true": {}, "exit 42": {ExitCode: 42}, "kill -TERM $$": {ExitCode: -1, Signal: 15},
	} {
		_, res := shell(t, s, script)
		require.Equal(t, want, res, script)
	}
}

func TestExecEnvironment(t *testing.T) {
	s := connect(t)
	var out bytes.Buffer
	_, err := s.Exec(within(t, 5*time.Second), wire.ExecRequest{
		Args:   []string{"sh", "-c", `echo "$PATH $HOME $TERM $EXTRA $PWD"; read pid comm state parent group session rest < /proc/$$/stat; echo $session $group $$`},
		Env:    []string{"EXTRA=1", "HOME=/h", "EXTRA=2"},
		Stdout: &out,
	})
	require.NoError(t, err)
	words := strings.Fields(out.String())
	require.Equal(t, []string{defaultPath, "/h", "linux", "2", "/"}, words[:5])
	require.Equal(t, words[7], words[5], "session")
	require.Equal(t, words[7], words[6], "process group")
}

func TestExecFailures(t *testing.T) {
	s := connect(t)
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain"), "text")
	for _, c := range []struct {
		req  wire.ExecRequest
		kind error
		op   string
	}{
		{wire.ExecRequest{Args: []string{"no-such-program"}}, fs.ErrNotExist, "exec"},
		{wire.ExecRequest{Args: []string{"/no/such/program"}}, fs.ErrNotExist, "exec"},
		{wire.ExecRequest{Args: []string{plain}}, fs.ErrPermission, "exec"},
		{wire.ExecRequest{Args: []string{"plain"}, Env: []string{"PATH=" + dir}}, fs.ErrPermission, "exec"},
		{wire.ExecRequest{Args: []string{"true"}, Dir: "/no/such/dir"}, fs.ErrNotExist, "chdir"},
	} {
		_, err := s.Exec(within(t, 5*time.Second), c.req)
		require.ErrorIs(t, err, c.kind, c.req)
		var remote *wire.RemoteError
		require.ErrorAs(t, err, &remote)
		require.Equal(t, c.op, remote.Op)
	}
}

func TestCancelKillsTheWholeGroup(t *testing.T) {
	s := connect(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pids := make(chan string, 1)
	began := time.Now()
	_, err := s.Exec(ctx, wire.ExecRequest{
		Args: []string{"sh", "-c", "trap '' TERM; sleep 1000 & echo $!; wait"},
		Stdout: writerFunc(func(p []byte) (int, error) {
			pids <- strings.TrimSpace(string(p))
			cancel()
			return len(p), nil
		}),
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(began), 5*time.Second)
	pid, err := strconv.Atoi(<-pids)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH }, 5*time.Second, time.Millisecond)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBackgroundChildDoesNotHoldUpTheResult(t *testing.T) {
	s := connect(t)
	began := time.Now()
	out, _ := shell(t, s, "sleep 20 & echo $!; head -c 50000 /dev/zero | tr '\\0' x")
	require.Less(t, time.Since(began), 5*time.Second)
	pid, rest, _ := strings.Cut(out, "\n")
	require.Len(t, rest, 50000, "all that was written before the exit")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(n, syscall.SIGKILL), "it lives on")
}

func TestStdinThatIsNotRead(t *testing.T) {
	s := connect(t)
	res, err := s.Exec(within(t, 5*time.Second), wire.ExecRequest{
		Args: []string{"true"}, Stdin: bytes.NewReader(make([]byte, 10<<20)),
	})
	require.NoError(t, err)
	require.Equal(t, wire.ExecResult{}, res)
}

// TestReaperUnderLoad runs many commands that leave orphans behind, side by
// side: each gets its own status and no zombie stays.
func TestReaperUnderLoad(t *testing.T) {
	s := connect(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			code := i % 100
			res, err := s.Exec(within(t, 30*time.Second), wire.ExecRequest{
				Args: []string{"sh", "-c", "(sleep 0.01 & exec true) & exit " + strconv.Itoa(code)},
			})
			if err != nil || res.ExitCode != code {
				t.Errorf("command %d: %+v, %v", code, res, err)
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool { return zombies(t) == 0 }, 5*time.Second, 10*time.Millisecond)
}

// zombies counts the dead children of this process.
func zombies(t *testing.T) (count int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if fields[0] == "Z" && fields[1] == strconv.Itoa(os.Getpid()) {
			count++
		}
	}
	return count
}

func TestLargeOutputWhole(t *testing.T) {
	s := connect(t)
	counter := &countingWriter{}
	res, err := s.Exec(within(t, 20*time.Second), wire.ExecRequest{
		Args: []string{"head", "-c", "30000000", "/dev/zero"}, Stdout: counter, Stderr: io.Discard,
	})
	require.NoError(t, err)
	require.Equal(t, wire.ExecResult{}, res)
	require.Equal(t, 30_000_000, counter.n)
}

type countingWriter struct{ n int }

func (c *countingWriter) Write(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}
