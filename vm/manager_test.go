package vm_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestAddFillsIn(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	require.Equal(t, "vm-"+inst.ID[:8], inst.Name)
	require.Equal(t, vm.Created, inst.State)
	require.Equal(t, int64(1), inst.Version)
	require.True(t, b.Owns(inst))

	_, err := b.Add(t.Context(), vm.Config{Name: inst.Name})
	require.ErrorIs(t, err, errors.ErrVMAlreadyExists)
	_, err = b.Add(t.Context(), vm.Config{Backend: "xen"})
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	require.ErrorContains(t, err, "process")
	_, err = b.Get(t.Context(), "nobody")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
}

func TestApplyIsIdempotent(t *testing.T) {
	b := newBench(t)
	cfg := vm.Config{Name: "web", Memory: 512 * vm.MiB, Disks: []vm.Disk{}, Devices: []vm.Device{{Driver: "x", Props: map[string]any{"n": 1}}}}
	first, err := b.Apply(t.Context(), cfg)
	require.NoError(t, err)
	again, err := b.Apply(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, first.Version, again.Version)

	cfg.Memory = vm.GiB
	changed, err := b.Apply(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, vm.GiB, changed.Config.Memory)
	require.Equal(t, first.ID, changed.ID)

	_, err = b.Start(t.Context(), "web")
	require.NoError(t, err)
	_, err = b.Apply(t.Context(), cfg)
	require.NoError(t, err, "nothing to change, so it may run")
	cfg.Memory = 2 * vm.GiB
	_, err = b.Apply(t.Context(), cfg)
	require.ErrorIs(t, err, errors.ErrIllegalTransition)
	_, err = b.Apply(t.Context(), vm.Config{})
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	_, err = b.Stop(t.Context(), "web")
	require.NoError(t, err)
}

func TestStartRecordsSteps(t *testing.T) {
	b := newBench(t)
	var seen []string
	inst := b.start(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}}, vm.OnStep(func(s vm.Step) {
		if s.Duration == 0 {
			seen = append(seen, s.Name)
		}
	}))
	want := []string{"validate", "lock", "images", "launch", "handshake", "continue", "ready"}
	require.Equal(t, want, seen)
	require.Equal(t, vm.Running, inst.State)
	require.Equal(t, vm.ReasonStarted, inst.Reason)
	for i, s := range inst.Steps {
		require.Equal(t, want[i], s.Name)
		require.Positive(t, s.Duration)
	}
	require.Equal(t, 1, b.images.count())
	require.Len(t, inst.Runtime.Disks, 1)

	_, err := b.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrVMAlreadyRunning)
	require.ErrorIs(t, err, errors.ErrIllegalTransition)

	rep, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, "acpi", rep.Step)
	require.True(t, rep.Graceful)
	require.Equal(t, 0, b.images.count(), "an ephemeral disk vanishes")
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Stopped, now.State)
	require.Equal(t, "stopped: acpi", now.Reason)

	rep, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err, "stopping twice is no error")
	require.Equal(t, "none", rep.Step)
}

func TestStartPaused(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{}, vm.StartPaused())
	require.Equal(t, vm.Paused, inst.State)
	require.Equal(t, vm.StepHandshake, inst.Steps[len(inst.Steps)-1].Name)
	conn, err := b.QMP(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = conn.Execute(t.Context(), "cont", nil)
	require.NoError(t, err)
	require.Equal(t, vm.ReasonResumed, b.await(t, inst.ID, vm.Running).Reason)
	_, err = conn.Execute(t.Context(), "stop", nil)
	require.NoError(t, err)
	require.Equal(t, vm.ReasonPaused, b.await(t, inst.ID, vm.Paused).Reason)
}

// failing is a condition that fails, or waits for ever when err is nil.
type failing struct{ err error }

func (f failing) String() string { return "it fails" }
func (f failing) Wait(ctx context.Context, _ string) error {
	if f.err != nil {
		return f.err
	}
	<-ctx.Done()
	return ctx.Err()
}

// holds is a condition that holds.
type holds struct{}

func (holds) String() string                     { return "it holds" }
func (holds) Wait(context.Context, string) error { return nil }

// TestEachStepFails makes each step fail in turn and looks at what is left.
func TestEachStepFails(t *testing.T) {
	bad := errors.New("injected")
	fail := func(context.Context) error { return bad }
	for step, inject := range map[string]func(*bench) []vm.StartOption{
		vm.StepValidate:  func(b *bench) []vm.StartOption { b.backend.check = fail; return nil },
		vm.StepImages:    func(b *bench) []vm.StartOption { b.booter.resolve = fail; return nil },
		vm.StepLaunch:    func(b *bench) []vm.StartOption { b.backend.launch = fail; return nil },
		vm.StepHandshake: func(b *bench) []vm.StartOption { b.backend.connect = fail; return nil },
		vm.StepContinue:  func(b *bench) []vm.StartOption { b.backend.resume = fail; return nil },
		vm.StepReady:     func(*bench) []vm.StartOption { return []vm.StartOption{vm.WaitFor(failing{bad})} },
	} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			inst := b.add(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
			_, err := b.Start(t.Context(), inst.ID, inject(b)...)
			requireStartFailed(t, b, inst, step, err)
			require.ErrorIs(t, err, bad)
		})
	}
}

func requireStartFailed(t *testing.T, b *bench, inst vm.Instance, step string, err error) {
	t.Helper()
	var start *errors.StartError
	require.ErrorAs(t, err, &start)
	require.Equal(t, step, start.Step)
	require.ErrorIs(t, err, errors.ErrVMStart)
	require.Equal(t, 0, b.images.count(), "images are deleted again")
	now, getErr := b.Get(t.Context(), inst.ID)
	require.NoError(t, getErr)
	if step == vm.StepValidate {
		require.Equal(t, vm.Created, now.State)
	} else {
		require.Equal(t, vm.Failed, now.State)
		require.Equal(t, "start-failed: "+step, now.Reason)
		require.Equal(t, step, now.Steps[len(now.Steps)-1].Name)
		require.NotEmpty(t, now.Steps[len(now.Steps)-1].Err)
	}
	if g := b.backend.guest(inst.ID); g != nil {
		require.True(t, g.gone(), "the guest is killed")
		require.Equal(t, "fake stderr", start.Stderr)
		require.Equal(t, []string{"qemu"}, start.Args)
	}
	// What went wrong is over: the same VM starts.
	b.backend.check, b.backend.launch, b.backend.connect, b.backend.resume, b.booter.resolve = nil, nil, nil, nil, nil
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
}

// TestCancelAtEachStep cancels the context while each step stands still.
func TestCancelAtEachStep(t *testing.T) {
	for _, step := range []string{vm.StepValidate, vm.StepImages, vm.StepLaunch, vm.StepHandshake, vm.StepContinue, vm.StepReady} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			inst := b.add(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var cancelled time.Time
			hang := func(ctx context.Context) error {
				cancelled = time.Now()
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
			var opts []vm.StartOption
			switch step {
			case vm.StepValidate:
				b.backend.check = hang
			case vm.StepImages:
				b.booter.resolve = hang
			case vm.StepLaunch:
				b.backend.launch = hang
			case vm.StepHandshake:
				b.backend.connect = hang
			case vm.StepContinue:
				b.backend.resume = hang
			case vm.StepReady:
				opts = append(opts, vm.WaitFor(failing{}), vm.OnStep(func(s vm.Step) {
					if s.Name == vm.StepReady && s.Duration == 0 {
						cancelled = time.Now()
						cancel()
					}
				}))
			}
			_, err := b.Start(ctx, inst.ID, opts...)
			require.Less(t, time.Since(cancelled), 2*time.Second)
			require.ErrorIs(t, err, context.Canceled)
			requireStartFailed(t, b, inst, step, err)
		})
	}
}

func TestImageFailureUndoesEarlierImages(t *testing.T) {
	b := newBench(t)
	b.images.fail = "second.qcow2"
	inst := b.add(t, vm.Config{Disks: []vm.Disk{{Name: "first", Size: vm.MiB}, {Name: "second", Size: vm.MiB}}})
	_, err := b.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.ErrorContains(t, err, "second")
	require.Equal(t, 0, b.images.count())
}

func TestKeptDiskSurvivesFailedStartOnlyIfItWasThere(t *testing.T) {
	b := newBench(t)
	b.booter.resolve = nil
	b.backend.launch = func(context.Context) error { return errors.New("injected") }
	keep := true
	inst := b.add(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB, Keep: &keep}}})
	_, err := b.Start(t.Context(), inst.ID)
	require.Error(t, err)
	require.Equal(t, 0, b.images.count(), "made by the failed start")

	b.backend.launch = nil
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, 1, b.images.count(), "kept")

	b.backend.launch = func(context.Context) error { return errors.New("injected") }
	_, err = b.Start(t.Context(), inst.ID)
	require.Error(t, err)
	require.Equal(t, 1, b.images.count(), "it was there before the failed start")
}

func TestTwoManagersStartOnce(t *testing.T) {
	b := newBench(t)
	managers := []*vm.Manager{b.Manager, b.second(t), b.second(t), b.second(t)}
	inst := b.add(t, vm.Config{})
	errs := make([]error, len(managers))
	var wg sync.WaitGroup
	for i, m := range managers {
		wg.Go(func() { _, errs[i] = m.Start(t.Context(), inst.ID) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, errors.ErrVMAlreadyRunning)
		}
	}
	require.Equal(t, 1, won)
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
}

func TestStopDuringStart(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	waiting := make(chan struct{})
	var once sync.Once
	res := make(chan error, 1)
	go func() {
		_, err := b.Start(t.Context(), inst.ID, vm.WaitFor(failing{}), vm.OnStep(func(s vm.Step) {
			if s.Name == vm.StepReady {
				once.Do(func() { close(waiting) })
			}
		}))
		res <- err
	}()
	<-waiting
	rep, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, "none", rep.Step)
	err = <-res
	require.ErrorIs(t, err, errors.ErrVMStart)
	require.ErrorContains(t, err, "it was stopped")
	require.Equal(t, vm.Failed, b.await(t, inst.ID).State)
}

func TestWatchAndFilter(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := b.Watch(ctx)
	require.NoError(t, err)
	foreign, err := b.second(t).Watch(ctx)
	require.NoError(t, err)

	inst := b.start(t, vm.Config{Name: "web", Labels: map[string]string{"tier": "front"}})
	_, err = b.Stop(t.Context(), "web")
	require.NoError(t, err)
	require.NoError(t, b.Remove(t.Context(), "web"))
	var states []vm.State
	for len(states) < 6 {
		ev := <-events
		require.Equal(t, "web", ev.Name)
		require.Equal(t, inst.ID, ev.ID)
		states = append(states, ev.To)
	}
	require.Equal(t, []vm.State{vm.Created, vm.Starting, vm.Running, vm.Stopping, vm.Stopped, ""}, states)
	for ev := range foreign { // may skip states, but ends with the removal
		if ev.To == "" {
			break
		}
	}
	cancel()
	for range events { // closed
	}

	b.add(t, vm.Config{Name: "a", Labels: map[string]string{"tier": "front"}})
	b.add(t, vm.Config{Name: "b"})
	list, err := b.List(t.Context(), vm.Filter{Labels: map[string]string{"tier": ""}})
	require.NoError(t, err)
	require.Len(t, list, 1)
	list, err = b.List(t.Context(), vm.Filter{States: []vm.State{vm.Created}})
	require.NoError(t, err)
	require.True(t, slices.IsSortedFunc(list, func(a, b vm.Instance) int { return cmpNames(a, b) }))
	require.Len(t, list, 2)
}

func cmpNames(a, b vm.Instance) int {
	if a.Name < b.Name {
		return -1
	}
	return 1
}

func TestSlowWatcherIsToldWhatItLost(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := b.Watch(ctx)
	require.NoError(t, err)
	const n = 400
	for i := range n {
		b.add(t, vm.Config{Name: fmt.Sprintf("vm%d", i)})
	}
	got, dropped := 0, 0
	for got+dropped < n {
		ev := <-events
		got++
		dropped += ev.Dropped
	}
	require.Equal(t, n, got+dropped)
	require.Positive(t, dropped)
}

func TestWait(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Wait(ctx, inst.ID, vm.Running)
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "created")

	res := make(chan error, 1)
	go func() {
		_, err := b.Wait(t.Context(), inst.ID, vm.Running)
		res <- err
	}()
	require.NoError(t, b.Remove(t.Context(), inst.ID))
	require.ErrorIs(t, <-res, errors.ErrVMNotFound)
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	keep := true
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB, Keep: &keep}}})
	require.ErrorIs(t, b.Remove(t.Context(), inst.ID), errors.ErrIllegalTransition)
	require.NoError(t, b.Remove(t.Context(), inst.ID, vm.ForceRemove()))
	require.Equal(t, 1, b.images.count(), "only deleted when asked")
	require.Equal(t, 1, b.backend.erased[inst.ID])
	require.ErrorIs(t, b.Remove(t.Context(), inst.ID), errors.ErrVMNotFound)

	inst = b.add(t, vm.Config{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB}}})
	_, err := b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, 2, b.images.count())
	require.NoError(t, b.Remove(t.Context(), inst.ID, vm.DeleteImages()))
	require.Equal(t, 1, b.images.count())
}

func TestClosedManager(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent})
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	_, err := b.Start(t.Context(), inst.ID)
	require.ErrorContains(t, err, "closed")
	_, err = b.Add(t.Context(), vm.Config{})
	require.ErrorContains(t, err, "closed")
	require.False(t, b.backend.guest(inst.ID).gone(), "Close stops nothing")
}
