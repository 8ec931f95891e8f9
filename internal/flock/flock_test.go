//go:build linux

package flock_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/flock"
)

// childEnv makes the test binary a process that takes the lock of the named file,
// says "locked" and holds it until its stdin ends.
const childEnv = "MAQET_TEST_FLOCK"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(child(path))
	}
	goleak.VerifyTestMain(m)
}

func child(path string) int {
	l, err := flock.Wait(context.Background(), path)
	if err != nil {
		return 1
	}
	os.Stdout.WriteString("locked\n")
	io.Copy(io.Discard, os.Stdin)
	if l.Unlock() != nil {
		return 1
	}
	return 0
}

type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// startChild returns a process that holds the lock.
func startChild(t *testing.T, path string) process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { stdin.Close(); cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)
	return process{cmd, stdin}
}

func lockPath(t *testing.T) string { return filepath.Join(t.TempDir(), "a.lock") }

func requireHeld(t *testing.T, path string, want bool) {
	t.Helper()
	held, err := flock.Held(path)
	require.NoError(t, err)
	require.Equal(t, want, held)
}

func TestTry(t *testing.T) {
	path := lockPath(t)
	requireHeld(t, path, false)
	require.NoFileExists(t, path)

	l, err := flock.Try(path)
	require.NoError(t, err)
	requireHeld(t, path, true)
	_, err = flock.Try(path)
	require.ErrorIs(t, err, flock.ErrHeld)

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	require.NoError(t, l.Unlock())
	require.NoError(t, l.Unlock())
	requireHeld(t, path, false)
	require.FileExists(t, path)

	l, err = flock.Try(path)
	require.NoError(t, err)
	require.NoError(t, l.Unlock())
}

func TestUnlockNil(t *testing.T) {
	var l *flock.Lock
	require.NoError(t, l.Unlock())
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "target"), nil, 0o600))
	require.NoError(t, os.Symlink("target", filepath.Join(dir, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	for _, name := range []string{"link", "fifo", "folder", "missing/a.lock"} {
		_, err := flock.Try(filepath.Join(dir, name))
		require.Error(t, err, name)
		require.NotErrorIs(t, err, flock.ErrHeld, name)
		_, err = flock.Wait(context.Background(), filepath.Join(dir, name))
		require.Error(t, err, name)
	}
}

func TestHeldNeverDisturbs(t *testing.T) {
	path := lockPath(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = flock.Held(path)
			}
		})
	}
	for range 2000 {
		l, err := flock.Try(path)
		require.NoError(t, err)
		require.NoError(t, l.Unlock())
	}
	cancel()
	wg.Wait()
}

func TestExclusiveBetweenGoroutines(t *testing.T) {
	path := lockPath(t)
	var inside, most, total atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				l, err := flock.Wait(context.Background(), path)
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), inside.Add(1)))
				total.Add(1)
				inside.Add(-1)
				if err := l.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, most.Load())
	require.EqualValues(t, 320, total.Load())
}

func TestOtherProcess(t *testing.T) {
	path := lockPath(t)
	p := startChild(t, path)
	requireHeld(t, path, true)
	_, err := flock.Try(path)
	require.ErrorIs(t, err, flock.ErrHeld)

	require.NoError(t, p.stdin.Close())
	l, err := flock.Wait(context.Background(), path)
	require.NoError(t, err)
	require.NoError(t, l.Unlock())
	require.NoError(t, p.cmd.Wait())
}

func TestKilledProcessReleases(t *testing.T) {
	path := lockPath(t)
	for range 10 {
		p := startChild(t, path)
		got := make(chan error, 1)
		go func() {
			l, err := flock.Wait(context.Background(), path)
			got <- errors.Join(err, l.Unlock())
		}()
		time.Sleep(5 * time.Millisecond) // lets Wait get to its watch in most rounds; any order is right
		require.NoError(t, p.cmd.Process.Kill())
		select {
		case err := <-got:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("the lock of a killed process was not given on")
		}
	}
}

func TestWaitEndsWithContext(t *testing.T) {
	path := lockPath(t)
	l, err := flock.Try(path)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 1)
	go func() {
		_, err := flock.Wait(ctx, path)
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	start := time.Now()
	cancel()
	require.ErrorIs(t, <-got, context.Canceled)
	require.Less(t, time.Since(start), 2*time.Second)

	// What gave up holds nothing.
	require.NoError(t, l.Unlock())
	l, err = flock.Try(path)
	require.NoError(t, err)
	require.NoError(t, l.Unlock())

	_, err = flock.Wait(ctx, path)
	require.ErrorIs(t, err, context.Canceled)
	requireHeld(t, path, false)
}

// An exec'd child must not keep the lock: descriptors are close-on-exec.
func TestNotInherited(t *testing.T) {
	path := lockPath(t)
	l, err := flock.Try(path)
	require.NoError(t, err)
	cmd := exec.Command("sleep", "30")
	require.NoError(t, cmd.Start())
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/fd")
	require.NoError(t, err)
	for _, e := range entries {
		target, _ := os.Readlink("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/fd/" + e.Name())
		require.False(t, strings.HasSuffix(target, "a.lock"), target)
	}
	require.NoError(t, l.Unlock())
	requireHeld(t, path, false)
}

// After its first tries a waiter relies on events alone, and must get one.
func TestLongWaitIsWoken(t *testing.T) {
	path := lockPath(t)
	held, err := flock.Try(path)
	require.NoError(t, err)
	type result struct {
		at  time.Time
		err error
	}
	got := make(chan result, 1)
	go func() {
		l, err := flock.Wait(context.Background(), path)
		got <- result{time.Now(), errors.Join(err, l.Unlock())}
	}()
	time.Sleep(2 * time.Second)
	released := time.Now()
	require.NoError(t, held.Unlock())
	select {
	case r := <-got:
		require.NoError(t, r.err)
		require.Less(t, r.at.Sub(released), 2*time.Second)
	case <-time.After(10 * time.Second):
		t.Fatal("nobody woke the waiter")
	}
}

// TestRemoveLetsOneInAtATime: those who wait for a file that is removed, and those who
// come later and make a new one, still are one after the other.
func TestRemoveLetsOneInAtATime(t *testing.T) {
	path := lockPath(t)
	var inside, turns atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				l, err := flock.Wait(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				turns.Add(1)
				inside.Add(-1)
				if (i+n)%3 == 0 {
					err = l.Unlock()
				} else {
					err = l.Remove()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 400, turns.Load())
}

func TestRemove(t *testing.T) {
	path := lockPath(t)
	l, err := flock.Try(path)
	require.NoError(t, err)
	child := make(chan error, 1)
	go func() {
		next, err := flock.Wait(t.Context(), path)
		child <- errors.Join(err, next.Remove())
	}()
	require.NoError(t, l.Remove())
	require.NoError(t, l.Remove(), "again")
	require.NoError(t, l.Unlock())
	select {
	case err := <-child:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("who waited was forgotten")
	}
	require.NoFileExists(t, path)
	require.NoError(t, (*flock.Lock)(nil).Remove())
}
