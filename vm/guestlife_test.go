package vm_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/vm"

	"path/filepath"
)

func TestGuestEndsByItself(t *testing.T) {
	for _, c := range []struct {
		name   string
		event  string
		exit   errors.ExitStatus
		state  vm.State
		reason string
	}{
		{"poweroff", `{"guest":true,"reason":"guest-shutdown"}`, errors.ExitStatus{Known: true}, vm.Stopped, "guest-shutdown"},
		{"quit by hand", `{"guest":false,"reason":"host-qmp-quit"}`, errors.ExitStatus{Known: true}, vm.Stopped, "host-qmp-quit"},
		{"panic that QEMU tells of", `{"guest":true,"reason":"guest-panic"}`, errors.ExitStatus{Known: true}, vm.Failed, "guest-panic"},
		{"killed", "", errors.ExitStatus{Known: true, Signal: "SIGKILL"}, vm.Failed, "qemu-exited: signal SIGKILL"},
		{"crashed", "", errors.ExitStatus{Known: true, Code: 1}, vm.Failed, "qemu-exited: exit status 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			inst := b.start(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
			g := b.backend.guest(inst.ID)
			if c.reason == vm.ReasonGuestPanic {
				g.event("GUEST_PANICKED", `{"action":"poweroff"}`)
			}
			if c.event != "" {
				g.event("SHUTDOWN", c.event)
			}
			g.end(c.exit)
			now := b.await(t, inst.ID)
			require.Equal(t, c.state, now.State)
			require.Equal(t, c.reason, now.Reason)
			require.Equal(t, c.exit, *now.Runtime.Exit)
			require.Equal(t, c.exit != errors.ExitStatus{Known: true}, now.Unclean, "whether images may have leaks")
			require.Equal(t, 0, b.images.count())
			_, err := b.QMP(t.Context(), inst.ID)
			require.ErrorIs(t, err, errors.ErrVMNotRunning)
			require.ErrorContains(t, err, c.reason)
			_, err = b.Start(t.Context(), inst.ID)
			require.NoError(t, err, "it starts again")
			_, err = b.Stop(t.Context(), inst.ID)
			require.NoError(t, err)
		})
	}
}

// TestWatchdog: what the guest's watchdog did is the reason of the state that it led to, and
// of no later one.
func TestWatchdog(t *testing.T) {
	t.Run("poweroff", func(t *testing.T) {
		b := newBench(t)
		inst := b.start(t, vm.Config{})
		g := b.backend.guest(inst.ID)
		g.event("WATCHDOG", `{"action":"poweroff"}`)
		g.end(errors.ExitStatus{Known: true})
		now := b.await(t, inst.ID)
		require.Equal(t, vm.Failed, now.State)
		require.Equal(t, vm.ReasonWatchdog, now.Reason)
	})
	t.Run("pause", func(t *testing.T) {
		b := newBench(t)
		inst := b.start(t, vm.Config{})
		g := b.backend.guest(inst.ID)
		for _, reason := range []string{vm.ReasonWatchdog, vm.ReasonPaused} {
			if reason == vm.ReasonWatchdog {
				g.event("WATCHDOG", `{"action":"pause"}`)
			}
			g.event("STOP", `{}`)
			now, err := b.Wait(t.Context(), inst.ID, vm.Paused)
			require.NoError(t, err)
			require.Equal(t, reason, now.Reason)
			g.event("RESUME", `{}`)
			_, err = b.Wait(t.Context(), inst.ID, vm.Running)
			require.NoError(t, err)
		}
		g.event("WATCHDOG", `{"action":"reset"}`)
		g.end(errors.ExitStatus{Known: true, Code: 1})
		require.Equal(t, "qemu-exited: exit status 1", b.await(t, inst.ID).Reason)
	})
}

func TestPanicWhileRunning(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	ctx, cancel, err := b.Guard(t.Context(), inst.ID)
	require.NoError(t, err)
	defer cancel()
	g := b.backend.guest(inst.ID)
	g.print(t, "some log quoting Kernel panic - not syncing: no\n[    1.5] Kernel pa")
	g.print(t, "nic - not syncing: Attempted to kill init!\n")
	<-ctx.Done()
	cause := context.Cause(ctx)
	var dead *errors.GuestError
	require.ErrorAs(t, cause, &dead)
	require.ErrorIs(t, cause, errors.ErrGuestPanic)
	require.Contains(t, dead.Msg, "Attempted to kill init")
	require.Contains(t, dead.Console, "some log")
	now := b.await(t, inst.ID)
	require.Equal(t, vm.Failed, now.State)
	require.Equal(t, vm.ReasonGuestPanic, now.Reason)
	require.True(t, g.gone())
}

func TestPanicWhileStarting(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	b.backend.resume = func(context.Context) error {
		b.backend.guest(inst.ID).print(t, "Kernel panic - not syncing: VFS: Unable to mount root fs\n")
		return nil
	}
	_, err := b.Start(t.Context(), inst.ID, vm.WaitFor(failing{}))
	require.ErrorIs(t, err, errors.ErrGuestPanic)
	var start *errors.StartError
	require.ErrorAs(t, err, &start)
	require.Equal(t, vm.StepReady, start.Step)
	require.Contains(t, start.Console, "Unable to mount")
}

func TestSilence(t *testing.T) {
	b := newBench(t)
	b.backend.timeouts = vm.Timeouts{Launch: sec(5), Ready: sec(30), Silence: sec(0.2), Stop: sec(1)}
	inst := b.add(t, vm.Config{})
	begun := time.Now()
	_, err := b.Start(t.Context(), inst.ID, vm.WaitFor(failing{}))
	require.ErrorIs(t, err, errors.ErrGuestSilent)
	require.Less(t, time.Since(begun), 5*time.Second)
	require.ErrorContains(t, err, "under tcg")

	// Each sign of life begins the wait anew.
	b.backend.timeouts.Silence = sec(0.5)
	done := make(chan error, 1)
	go func() {
		_, err := b.Start(t.Context(), inst.ID, vm.WaitFor(failing{}))
		done <- err
	}()
	b.await(t, inst.ID, vm.Starting)
	for i := range 10 {
		time.Sleep(100 * time.Millisecond) // the guest's pace, not a wait for something
		select {
		case err := <-done:
			t.Fatalf("given up after %d signs of life: %v", i, err)
		default:
			b.backend.guest(inst.ID).print(t, ".")
		}
	}
	require.ErrorIs(t, <-done, errors.ErrGuestSilent)
}

func TestReadyTimeout(t *testing.T) {
	b := newBench(t)
	b.backend.timeouts = vm.Timeouts{Launch: sec(5), Ready: sec(0.1), Silence: sec(5), Stop: sec(1)}
	_, err := b.Start(t.Context(), b.add(t, vm.Config{}).ID, vm.WaitFor(failing{}))
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "it fails")
}

func TestStopLadder(t *testing.T) {
	b := newBench(t)
	b.backend.deaf = true
	b.backend.timeouts = vm.Timeouts{Launch: sec(5), Ready: sec(5), Silence: sec(5), Stop: sec(0.1)}
	inst := b.start(t, vm.Config{}, vm.WaitFor(holds{}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	rep, err := b.Stop(ctx, inst.ID)
	require.NoError(t, err, "SIGKILL comes before the deadline")
	require.NoError(t, ctx.Err())
	require.Equal(t, "sigkill", rep.Step)
	require.False(t, rep.Graceful)
	var steps []string
	for _, a := range rep.Tried {
		steps = append(steps, a.Step)
	}
	require.Equal(t, []string{"agent", "acpi", "quit", "sigterm", "sigkill"}, steps)
	require.Equal(t, "no agent", rep.Tried[0].Err)
	require.Equal(t, "timed out", rep.Tried[1].Err)
	require.Equal(t, "stopped: sigkill", b.await(t, inst.ID).Reason)
}

// TestStopDeafGuest: nobody is asked for long who was never up.
func TestStopDeafGuest(t *testing.T) {
	b := newBench(t)
	b.backend.deaf = true
	b.backend.timeouts = vm.Timeouts{Launch: sec(5), Ready: sec(5), Silence: sec(5), Stop: sec(3600)}
	inst := b.start(t, vm.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	rep, err := b.Stop(ctx, inst.ID)
	require.NoError(t, err)
	require.Equal(t, "sigkill", rep.Step)
	require.Equal(t, "acpi", rep.Tried[0].Step, "the agent of a guest that never was up is not asked")
}

func TestStopForce(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	rep, err := b.Stop(t.Context(), inst.ID, vm.Force())
	require.NoError(t, err)
	require.Equal(t, "sigkill", rep.Step)
	require.Len(t, rep.Tried, 1)
}

func TestStopCancelled(t *testing.T) {
	b := newBench(t)
	b.backend.deaf = true
	b.backend.timeouts = vm.Timeouts{Launch: sec(5), Ready: sec(5), Silence: sec(5), Stop: sec(30)}
	inst := b.start(t, vm.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	res := make(chan error, 1)
	go func() {
		_, err := b.Stop(ctx, inst.ID)
		res <- err
	}()
	b.await(t, inst.ID, vm.Stopping)
	cancelled := time.Now()
	cancel()
	err := <-res
	require.Less(t, time.Since(cancelled), 2*time.Second)
	require.ErrorIs(t, err, errors.ErrVMStop)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, vm.Stopping, b.await(t, inst.ID, vm.Stopping).State)
	rep, err := b.Stop(t.Context(), inst.ID, vm.Force())
	require.NoError(t, err, "stopping goes on where it was left")
	require.Equal(t, "sigkill", rep.Step)
}

// TestAdoption has a second manager, as another process would, take a guest over from
// one that is gone in each live state.
func TestAdoption(t *testing.T) {
	for _, state := range []vm.State{vm.Starting, vm.Running, vm.Paused, vm.Stopping} {
		t.Run(string(state), func(t *testing.T) {
			b := newBench(t)
			inst := b.start(t, vm.Config{Lifetime: vm.Persistent}, pausedIf(state == vm.Paused || state == vm.Starting)...)
			require.NoError(t, b.Close())
			inst.State = force(t, b, inst, state)
			next := b.second(t)
			changed, err := next.Reconcile(t.Context())
			require.NoError(t, err)
			want := vm.Running
			if state == vm.Paused {
				want = vm.Paused
			}
			if state == vm.Starting || state == vm.Stopping {
				require.Len(t, changed, 1)
				require.Equal(t, vm.ReasonAdopted, changed[0].Reason)
			}
			conn, err := next.QMP(t.Context(), inst.ID)
			require.NoError(t, err)
			_, err = conn.Execute(t.Context(), "query-status", nil)
			require.NoError(t, err)
			now, err := next.Get(t.Context(), inst.ID)
			require.NoError(t, err)
			require.Equal(t, want, now.State)
			_, err = next.Stop(t.Context(), inst.ID)
			require.NoError(t, err)
		})
	}
}

func pausedIf(yes bool) []vm.StartOption {
	if yes {
		return []vm.StartOption{vm.StartPaused()}
	}
	return nil
}

// force writes a state into the store, as a process that died half-way leaves it.
func force(t *testing.T, b *bench, inst vm.Instance, state vm.State) vm.State {
	now, err := b.store.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	next := now
	next.State = state
	_, err = b.store.Update(t.Context(), next, now.State, now.Version)
	require.NoError(t, err)
	return state
}

func TestReconcileRecordsTheDead(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB, Keep: new(bool)}}})
	require.NoError(t, b.Close())
	b.backend.guest(inst.ID).end(errors.ExitStatus{})
	next := b.second(t)
	changed, err := next.Reconcile(t.Context())
	require.NoError(t, err)
	require.Len(t, changed, 1)
	require.Equal(t, vm.Failed, changed[0].State)
	require.Equal(t, vm.ReasonVanished, changed[0].Reason)
	require.Equal(t, 0, b.images.count())
	changed, err = next.Reconcile(t.Context())
	require.NoError(t, err)
	require.Empty(t, changed, "idempotent")
}

func TestReconcileLeavesOthersOperationsAlone(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent})
	require.NoError(t, b.Close())
	force(t, b, inst, vm.Stopping)
	lock, err := flock.Try(filepath.Join(b.dir, "locks", inst.ID+".lock"))
	require.NoError(t, err)
	next := b.second(t)
	changed, err := next.Reconcile(t.Context())
	require.NoError(t, err)
	require.Empty(t, changed)
	require.NoError(t, lock.Unlock())
}

// orphan makes the VM look as if it belonged to a process that is gone.
func orphan(t *testing.T, b *bench, inst vm.Instance) {
	now, err := b.store.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	next := now
	next.Owner.StartTime++ // no such process
	_, err = b.store.Update(t.Context(), next, now.State, now.Version)
	require.NoError(t, err)
}

func TestOrphanedEphemeralVMs(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Name: "web", Disks: []vm.Disk{{Size: vm.MiB}}})
	require.NoError(t, b.Close())
	b.backend.guest(inst.ID).end(errors.ExitStatus{})
	orphan(t, b, inst)

	next := b.second(t)
	again, err := next.Add(t.Context(), vm.Config{Name: "web"})
	require.NoError(t, err, "the name of an orphan is free")
	require.NotEqual(t, inst.ID, again.ID)
	require.Equal(t, 0, b.images.count())

	orphan(t, b, again)
	changed, err := next.Reconcile(t.Context())
	require.NoError(t, err)
	require.Len(t, changed, 1)
	_, err = next.Get(t.Context(), "web")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
}

func TestStartMendsAStaleRecord(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent})
	require.NoError(t, b.Close())
	b.backend.guest(inst.ID).end(errors.ExitStatus{})
	next := b.second(t)
	inst, err := next.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Running, inst.State)
	_, err = next.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
}
