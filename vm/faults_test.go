package vm_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
)

// hookStore lets a test come in between. The hooks are set before others use the store.
type hookStore struct {
	*memory.Store
	beforeUpdate func(next vm.Instance) error
	afterList    func()
}

func (s *hookStore) List(ctx context.Context, f vm.Filter) ([]vm.Instance, error) {
	list, err := s.Store.List(ctx, f)
	if s.afterList != nil {
		s.afterList()
	}
	return list, err
}

func (s *hookStore) Update(ctx context.Context, next vm.Instance, state vm.State, version int64) (vm.Instance, error) {
	if s.beforeUpdate != nil {
		if err := s.beforeUpdate(next); err != nil {
			return vm.Instance{}, err
		}
	}
	return s.Store.Update(ctx, next, state, version)
}

// hang is a step that stands still until its context ends; reached tells that it began.
func hang() (fn func(context.Context) error, reached chan struct{}) {
	reached = make(chan struct{})
	var once sync.Once
	return func(ctx context.Context) error {
		once.Do(func() { close(reached) })
		<-ctx.Done()
		return ctx.Err()
	}, reached
}

// TestCloseUndoesStart closes the manager while each step of a start stands still.
func TestCloseUndoesStart(t *testing.T) {
	for step, inject := range map[string]func(*bench, func(context.Context) error){
		vm.StepImages:    func(b *bench, fn func(context.Context) error) { b.booter.resolve = fn },
		vm.StepHandshake: func(b *bench, fn func(context.Context) error) { b.backend.connect = fn },
		vm.StepContinue:  func(b *bench, fn func(context.Context) error) { b.backend.resume = fn },
	} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t)
			m := b.second(t)
			stand, reached := hang()
			inject(b, stand)
			inst, err := m.Add(t.Context(), vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
			require.NoError(t, err)
			res := make(chan error, 1)
			go func() {
				_, err := m.Start(context.Background(), inst.ID)
				res <- err
			}()
			<-reached
			begun := time.Now()
			require.NoError(t, m.Close())
			require.Less(t, time.Since(begun), 2*time.Second)
			requireStartFailed(t, b, inst, step, <-res)
		})
	}
}

func TestGuardEndsWithClose(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	ctx, cancel, err := b.Guard(context.Background(), inst.ID)
	require.NoError(t, err)
	defer cancel()
	require.NoError(t, b.Close())
	<-ctx.Done()
	require.ErrorContains(t, context.Cause(ctx), "closed")
	_, _, err = b.Guard(context.Background(), inst.ID)
	require.ErrorContains(t, err, "closed")
}

// TestStopCancelsEachStart: the second of two starts may be the one that wins.
func TestStopCancelsEachStart(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	first, firstReached := hang()
	b.backend.check = first
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make(chan error, 2)
	go func() {
		_, err := b.Start(ctx, inst.ID)
		errs <- err
	}()
	<-firstReached
	second, secondReached := hang()
	b.backend.mu.Lock()
	b.backend.check = second
	b.backend.mu.Unlock()
	go func() {
		_, err := b.Start(t.Context(), inst.ID)
		errs <- err
	}()
	<-secondReached
	cancel()
	require.ErrorIs(t, <-errs, context.Canceled)
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	select {
	case err := <-errs:
		require.ErrorContains(t, err, "it was stopped")
	case <-time.After(5 * time.Second):
		t.Fatal("the second start was not cancelled")
	}
}

// TestContinueIsBounded: a QEMU that does not answer can't hold a start up for ever.
func TestContinueIsBounded(t *testing.T) {
	b := newBench(t)
	b.backend.timeouts = vm.Timeouts{Launch: sec(0.2), Ready: sec(5), Silence: sec(5), Stop: sec(1)}
	b.backend.resume, _ = hang()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := b.Start(ctx, b.add(t, vm.Config{}).ID)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, ctx.Err())
}

// TestStartMeetsChange: a record that changes between the check and the state Starting
// is checked again.
func TestStartMeetsChange(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{Name: "web"})
	changed := false
	store := &hookStore{Store: b.store, beforeUpdate: func(vm.Instance) error {
		if changed {
			return nil
		}
		changed = true
		_, err := b.Apply(t.Context(), vm.Config{Name: "web", Memory: vm.GiB})
		return err
	}}
	m := b.over(t, store)
	got, err := m.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.GiB, got.Config.Memory)
	_, err = m.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
}

// TestEndIsRecordedThoughTheStoreFailedOnce: Stop says what went wrong, and the record is
// mended by whoever looks next.
func TestEndIsRecordedThoughTheStoreFailedOnce(t *testing.T) {
	b := newBench(t)
	var failed atomic.Bool
	store := &hookStore{Store: b.store, beforeUpdate: func(next vm.Instance) error {
		if next.State == vm.Stopped && failed.CompareAndSwap(false, true) {
			return errors.ErrDatabase
		}
		return nil
	}}
	m := b.over(t, store)
	inst, err := m.Add(t.Context(), vm.Config{Lifetime: vm.Persistent})
	require.NoError(t, err)
	_, err = m.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = m.Stop(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrDatabase)
	require.Equal(t, vm.Stopped, b.await(t, inst.ID).State)
}

// TestPanicLineIsWhole: a console comes in small pieces.
func TestPanicLineIsWhole(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	ctx, cancel, err := b.Guard(t.Context(), inst.ID)
	require.NoError(t, err)
	defer cancel()
	g := b.backend.guest(inst.ID)
	g.print(t, "[    1.5] Kernel panic - not syncing: Attem")
	time.Sleep(50 * time.Millisecond) // the guest's pace
	g.print(t, "pted to kill init!\r\n")
	<-ctx.Done()
	var dead *errors.GuestError
	require.ErrorAs(t, context.Cause(ctx), &dead)
	require.Equal(t, "Kernel panic - not syncing: Attempted to kill init!", strings.TrimPrefix(dead.Msg, "[    1.5] "))
}

// TestPanicThatEndsQEMU: with panic=-1 on its command line a guest resets before its
// last line was read.
func TestPanicThatEndsQEMU(t *testing.T) {
	for range 20 {
		b := newBench(t)
		inst := b.start(t, vm.Config{})
		ctx, cancel, err := b.Guard(t.Context(), inst.ID)
		require.NoError(t, err)
		g := b.backend.guest(inst.ID)
		g.print(t, "Kernel panic - not syncing: it was too much\r\n")
		g.event("SHUTDOWN", `{"guest":true,"reason":"guest-reset"}`)
		g.end(errors.ExitStatus{Known: true})
		<-ctx.Done()
		cancel()
		require.ErrorIs(t, context.Cause(ctx), errors.ErrGuestPanic)
		now := b.await(t, inst.ID)
		require.Equal(t, vm.Failed, now.State)
		require.Equal(t, vm.ReasonGuestPanic, now.Reason)
	}
}

func TestOnlyOwnVMsAreOwned(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	require.True(t, b.Owns(inst))
	require.False(t, b.second(t).Owns(inst), "another manager of the same process")
}

func TestStaleRecordsCanBeRemovedAndChanged(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Name: "web", Lifetime: vm.Persistent})
	require.NoError(t, b.Close())
	b.backend.guest(inst.ID).end(errors.ExitStatus{})
	next := b.second(t)
	got, err := next.Apply(t.Context(), vm.Config{Name: "web", Lifetime: vm.Persistent, Memory: vm.GiB})
	require.NoError(t, err)
	require.Equal(t, vm.Failed, got.State)
	force(t, b, inst, vm.Running)
	require.NoError(t, next.Remove(t.Context(), "web"))
}

func TestRemoveOfAStartingVMFailsAtOnce(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	res := make(chan error, 1)
	stand, reached := hang()
	b.backend.resume = stand
	go func() {
		_, err := b.Start(t.Context(), inst.ID)
		res <- err
	}()
	<-reached
	begun := time.Now()
	require.ErrorIs(t, b.Remove(t.Context(), inst.ID), errors.ErrIllegalTransition)
	require.Less(t, time.Since(begun), 2*time.Second)
	require.NoError(t, b.Remove(t.Context(), inst.ID, vm.ForceRemove()))
	require.ErrorContains(t, <-res, "it was stopped")
	require.True(t, b.backend.guest(inst.ID).gone())
}

// TestOrphanThatLives: the name of an ephemeral VM is free as soon as its process is
// gone, though its guest takes a moment to follow.
func TestOrphanThatLives(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Name: "web"})
	require.NoError(t, b.Close())
	orphan(t, b, inst)
	next := b.second(t)
	_, err := next.Add(t.Context(), vm.Config{Name: "web"})
	require.NoError(t, err)
	require.True(t, b.backend.guest(inst.ID).gone())
}

// TestAgreeingGuestThatStays: a guest whose agent takes the order, and that does nothing,
// is asked by its power button, too.
func TestAgreeingGuestThatStays(t *testing.T) {
	b := newBench(t)
	b.backend.agrees = true
	inst := b.start(t, vm.Config{}, vm.WaitFor(holds{}))
	rep, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, "acpi", rep.Step)
	require.True(t, rep.Graceful)
	require.Equal(t, "timed out", rep.Tried[0].Err)
	require.Less(t, rep.Duration, 900*time.Millisecond, "half of the guest's second")
}

// TestImagesOfFormerDisks: a disk that left the configuration leaves no image behind.
func TestImagesOfFormerDisks(t *testing.T) {
	b := newBench(t)
	cfg := vm.Config{Name: "web", Lifetime: vm.Persistent, Disks: []vm.Disk{{Name: "old", Size: vm.MiB}}}
	for range 2 {
		inst, err := b.Apply(t.Context(), cfg)
		require.NoError(t, err)
		_, err = b.Start(t.Context(), inst.ID)
		require.NoError(t, err)
		_, err = b.Stop(t.Context(), inst.ID)
		require.NoError(t, err)
		cfg.Disks = []vm.Disk{{Name: "new", Size: vm.MiB}}
	}
	require.Equal(t, 2, b.images.count(), "kept until it is asked for")
	require.NoError(t, b.Remove(t.Context(), "web", vm.DeleteImages()))
	require.Equal(t, 0, b.images.count())
}

func TestStopOfADeadOperationSaysHowItEnded(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent})
	require.NoError(t, b.Close())
	force(t, b, inst, vm.Stopping)
	b.backend.guest(inst.ID).end(errors.ExitStatus{})
	next := b.second(t)
	rep, err := next.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, "none", rep.Step)
	now, err := next.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Stopped, now.State)
}
