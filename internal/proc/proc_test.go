package proc_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// child starts a process that runs until it is killed.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func idOf(t *testing.T, pid int) proc.ID {
	t.Helper()
	id, err := proc.Of(pid)
	require.NoError(t, err)
	return id
}

func TestSelf(t *testing.T) {
	id, err := proc.Self()
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), id.PID)
	require.NotZero(t, id.StartTime)
	require.NotEmpty(t, id.BootID)
	require.True(t, proc.Alive(id))
}

func TestAliveNeedsEveryPart(t *testing.T) {
	self, err := proc.Self()
	require.NoError(t, err)
	id := idOf(t, child(t).Process.Pid)
	for id.StartTime == self.StartTime { // in the same 10 ms as this process
		id = idOf(t, child(t).Process.Pid)
	}
	require.True(t, proc.Alive(id))
	for name, change := range map[string]func(*proc.ID){
		"start time": func(id *proc.ID) { id.StartTime++ },
		"boot":       func(id *proc.ID) { id.BootID = "another" },
		"pid":        func(id *proc.ID) { id.PID = self.PID },
		"no pid":     func(id *proc.ID) { id.PID = 0 },
		"negative":   func(id *proc.ID) { id.PID = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			other := id
			change(&other)
			require.False(t, proc.Alive(other))
			_, err := proc.Open(other)
			require.Error(t, err)
		})
	}
}

func TestZombieIsGone(t *testing.T) {
	cmd := child(t)
	id := idOf(t, cmd.Process.Pid)
	h, err := proc.Open(id)
	require.NoError(t, err)
	defer h.Close()
	require.NoError(t, h.Signal(unix.SIGKILL))
	<-h.Done() // ended, but not reaped

	require.False(t, proc.Alive(id))
	_, err = proc.Of(id.PID)
	require.ErrorIs(t, err, proc.ErrGone)
	_, err = proc.Open(id)
	require.ErrorIs(t, err, proc.ErrGone)
}

// TestOpenChild: a child is held also when it has ended, until it is reaped.
func TestOpenChild(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	require.NoError(t, cmd.Start())
	pid := cmd.Process.Pid
	want := idOf(t, pid)
	for _, ended := range []bool{false, true} {
		if ended {
			require.NoError(t, cmd.Process.Kill())
		}
		h, err := proc.OpenChild(pid)
		require.NoError(t, err)
		require.Equal(t, want, h.ID())
		if ended {
			require.NoError(t, h.Wait(t.Context()))
			status, ok := h.Reap()
			require.True(t, ok)
			require.Equal(t, unix.SIGKILL, status.Signal())
		}
		require.NoError(t, h.Close())
	}
	_, err := proc.OpenChild(pid)
	require.ErrorIs(t, err, proc.ErrGone)
	require.NoError(t, cmd.Process.Release())
}

// TestThreadIsNoProcess: a PID that is used again may be that of a thread.
func TestThreadIsNoProcess(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := make(chan int)
	end := make(chan struct{})
	go func() {
		runtime.LockOSThread() // not the test's thread, and so not the first one or not this one
		tid <- unix.Gettid()
		<-end
	}()
	thread := <-tid
	defer close(end)
	if thread == os.Getpid() {
		thread = unix.Gettid()
	}
	_, err := proc.Open(proc.ID{PID: thread})
	require.ErrorIs(t, err, proc.ErrGone)
}

func TestReapedIsGone(t *testing.T) {
	cmd := child(t)
	id := idOf(t, cmd.Process.Pid)
	h, err := proc.Open(id)
	require.NoError(t, err)
	defer h.Close()
	_, ok := h.Reap()
	require.False(t, ok, "it runs")

	require.NoError(t, h.Signal(unix.SIGTERM))
	require.NoError(t, h.Wait(t.Context()))
	status, ok := h.Reap()
	require.True(t, ok)
	require.Equal(t, unix.SIGTERM, status.Signal())
	_, ok = h.Reap()
	require.False(t, ok, "a second time")

	require.ErrorIs(t, h.Signal(unix.SIGTERM), proc.ErrGone)
	_, err = proc.Open(id)
	require.ErrorIs(t, err, proc.ErrGone)
	_, err = proc.Args(id.PID)
	require.ErrorIs(t, err, proc.ErrGone)
}

func TestExitIsSeenAtOnce(t *testing.T) {
	h, err := proc.Open(idOf(t, child(t).Process.Pid))
	require.NoError(t, err)
	defer h.Close()
	select {
	case <-h.Done():
		t.Fatal("done before it ended")
	default:
	}
	require.NoError(t, h.Signal(unix.SIGKILL))
	select {
	case <-h.Done():
	case <-time.After(2 * time.Second):
		t.Fatal("the exit was not seen")
	}
}

func TestWaitEndsWithItsContextAndWithClose(t *testing.T) {
	h, err := proc.Open(idOf(t, child(t).Process.Pid))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, h.Wait(ctx), context.Canceled)

	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	require.ErrorIs(t, h.Wait(t.Context()), os.ErrClosed)
	require.ErrorIs(t, h.Signal(unix.SIGTERM), os.ErrClosed)
	select {
	case <-h.Done():
		t.Fatal("Close is not the process's end")
	default:
	}
}

func TestArgs(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.Args = []string{"a name, with (parens)", "1000"}
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	h, err := proc.Open(idOf(t, cmd.Process.Pid))
	require.NoError(t, err)
	defer h.Close()
	args, err := h.Args()
	require.NoError(t, err)
	require.Equal(t, cmd.Args, args)
	args, err = proc.Args(cmd.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, cmd.Args, args)
	require.NoError(t, cmd.Process.Kill())
	<-h.Done()
	_, err = h.Args()
	require.ErrorIs(t, err, proc.ErrGone)
}
