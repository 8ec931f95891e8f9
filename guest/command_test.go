package guest_test

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

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

func TestExec(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		dir := t.TempDir()
		res, err := m.Exec(soon(t), "box", guest.Command{
			Args:  []string{"sh", "-c", `cat; echo "$FOO"; pwd; echo oops >&2; printf '%s|' "$@"`, "sh", "a b", `"; rm -rf /nowhere'`, "-x"},
			Env:   []string{"FOO=one two=three"},
			Dir:   dir,
			Stdin: strings.NewReader("typed\n"),
		})
		require.NoError(t, err)
		require.Equal(t, "typed\none two=three\n"+dir+"\n"+`a b|"; rm -rf /nowhere'|-x|`, string(res.Stdout))
		require.Equal(t, "oops\n", string(res.Stderr))
		require.Zero(t, res.ExitCode)
		require.False(t, res.Truncated)
	})
}

func TestExecFailures(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		var failed *errors.CommandError
		res, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sh", "-c", "echo out; echo no >&2; exit 7"}})
		require.ErrorIs(t, err, errors.ErrCommandFailed)
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 7, failed.ExitCode)
		require.Equal(t, "no\n", failed.Stderr)
		require.Equal(t, 7, res.ExitCode)
		require.Equal(t, "out\n", string(res.Stdout))

		res, err = m.Exec(soon(t), "box", guest.Command{Args: []string{"sh", "-c", "kill -TERM $$"}})
		require.ErrorAs(t, err, &failed)
		require.Equal(t, int(syscall.SIGTERM), failed.Signal)
		require.Equal(t, -1, res.ExitCode)
		require.Equal(t, int(syscall.SIGTERM), res.Signal)

		_, err = m.Exec(soon(t), "box", guest.Command{Args: []string{"no-such-program"}})
		require.ErrorIs(t, err, errors.ErrCommandFailed)
		require.ErrorIs(t, err, fs.ErrNotExist)

		for _, bad := range []guest.Command{
			{}, {Args: []string{""}}, {Args: []string{"-x"}}, {Args: []string{"a\x00b"}},
			{Args: []string{"true"}, Env: []string{"nothing"}}, {Args: []string{"true"}, Env: []string{"-i=1"}},
		} {
			_, err = m.Exec(soon(t), "box", bad)
			require.ErrorIs(t, err, errors.ErrCommandFailed)
		}
		_, err = m.Exec(soon(t), "nobody", guest.Command{Args: []string{"true"}})
		require.ErrorIs(t, err, errors.ErrVMNotFound)
	})
}

func TestExecWriters(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		var out bytes.Buffer
		res, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sh", "-c", "echo a; echo b >&2"}, Stdout: &out})
		require.NoError(t, err)
		require.Equal(t, "a\n", out.String())
		require.Nil(t, res.Stdout)
		require.Equal(t, "b\n", string(res.Stderr))

		_, err = m.Exec(soon(t), "box", guest.Command{Args: []string{"echo", "a"}, Stdout: brokenWriter{}})
		require.ErrorIs(t, err, io.ErrNoProgress)
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrNoProgress }

func TestExecLimitsWhatItKeeps(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		res, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"head", "-c", strconv.Itoa(guest.CaptureLimit + 4096), "/dev/zero"}})
		require.NoError(t, err)
		require.True(t, res.Truncated)
		require.Len(t, res.Stdout, guest.CaptureLimit)
	})
}

func TestExecSideBySide(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				res, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sh", "-c", "sleep 0.02; echo $1", "sh", strconv.Itoa(i)}})
				if err != nil || string(res.Stdout) != strconv.Itoa(i)+"\n" {
					t.Errorf("command %d: %q, %v", i, res.Stdout, err)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, v.dials.Load(), int32(3), "callers share one session")
	})
}

// TestExecCancelled cancels at every moment of a command's life; each time the call
// is back at once and the process ends.
func TestExecCancelled(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		require.NoError(t, m.Ping(soon(t), "box"))
		for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 200 * time.Millisecond} {
			pidFile := filepath.Join(t.TempDir(), "pid")
			ctx, cancel := context.WithCancelCause(soon(t))
			reason := errors.New("enough")
			var ended time.Time
			timer := time.AfterFunc(after, func() { ended = time.Now(); cancel(reason) })
			_, err := m.Exec(ctx, "box", guest.Command{Args: []string{"sh", "-c", `echo $$ >"$1"; exec sleep 60`, "sh", pidFile}})
			took := time.Since(ended)
			timer.Stop()
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, reason)
			require.Less(t, took, 2*time.Second, "cancelled after %s", after)
			if after == 200*time.Millisecond {
				requireGone(t, pidFile)
			}
			requireNoLatecomer(t, pidFile)
		}
		_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"true"}})
		require.NoError(t, err, "the session still works")
	})
}

// requireGone waits until the process whose PID is in the file is gone.
func requireGone(t *testing.T, pidFile string) {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 5*time.Second, 5*time.Millisecond)
}

// requireNoLatecomer is requireGone for a process that may not have started.
func requireNoLatecomer(t *testing.T, pidFile string) {
	t.Helper()
	time.Sleep(50 * time.Millisecond) // long enough for one that was about to start
	if info, err := os.Stat(pidFile); err == nil && info.Size() > 0 {
		requireGone(t, pidFile)
	}
}

func TestExecStdinThatNeverEnds(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		in, feed := io.Pipe()
		defer feed.Close()
		ctx, cancel := context.WithTimeout(soon(t), 100*time.Millisecond)
		defer cancel()
		_, err := m.Exec(ctx, "box", guest.Command{Args: []string{"cat"}, Stdin: in})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestExecStreams(t *testing.T) {
	v := withInit(t, newFakeVM(t))
	m := v.manager(t)
	out, lines := io.Pipe()
	in, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"cat"}, Stdin: in, Stdout: lines})
		done <- err
	}()
	buf := make([]byte, 16)
	for _, word := range []string{"one", "two"} {
		_, err := io.WriteString(feed, word)
		require.NoError(t, err)
		n, err := out.Read(buf)
		require.NoError(t, err)
		require.Equal(t, word, string(buf[:n]), "output arrives while the program runs")
	}
	require.NoError(t, feed.Close())
	require.NoError(t, <-done)
}
