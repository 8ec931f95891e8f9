package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

const racers = 32

func testUpdate(t *testing.T, s vm.Store) {
	first := create(t, s, instance(1))
	other := create(t, s, instance(2))

	next := first.Clone()
	next.State, next.Reason, next.Version = vm.Starting, "because", 77
	next.Steps = Whole(1).Steps
	got, err := s.Update(t.Context(), next, vm.Created, 1)
	require.NoError(t, err)
	require.EqualValues(t, 2, got.Version)
	require.False(t, got.Changed.Before(first.Changed))
	next.Version, next.Changed = 2, got.Changed
	require.Equal(t, next, got)
	requireSame(t, s, next)
	requireSame(t, s, other)

	list, err := s.List(t.Context(), vm.Filter{States: []vm.State{vm.Starting}})
	require.NoError(t, err)
	require.Equal(t, []vm.Instance{next}, list)
}

func testUpdateConflict(t *testing.T, s vm.Store) {
	first := create(t, s, instance(1))
	current, err := s.Update(t.Context(), first, vm.Created, 1)
	require.NoError(t, err)

	next := first.Clone()
	next.State, next.Reason = vm.Starting, "not to be seen"
	for _, c := range []struct {
		state   vm.State
		version int64
	}{
		{vm.Created, 1}, {vm.Created, 3}, {vm.Running, 2}, {"", 2}, {vm.Created, 0},
	} {
		var conflict *vm.ConflictError
		_, err := s.Update(t.Context(), next, c.state, c.version)
		require.ErrorAs(t, err, &conflict, "%+v", c)
		require.Equal(t, current, conflict.Current)
		require.ErrorAs(t, s.Delete(t.Context(), first.ID, c.state, c.version), &conflict, "%+v", c)
		require.Equal(t, current, conflict.Current)
	}
	requireSame(t, s, current)
}

func testRename(t *testing.T, s vm.Store) {
	a, b := create(t, s, instance(1)), create(t, s, instance(2))

	a.Name = b.Name
	_, err := s.Update(t.Context(), a, vm.Created, 1)
	require.ErrorIs(t, err, errors.ErrVMAlreadyExists)
	a.Name = "vm0001"
	requireSame(t, s, a)
	requireSame(t, s, b)

	a.Name = "renamed"
	a, err = s.Update(t.Context(), a, vm.Created, 1)
	require.NoError(t, err)
	requireSame(t, s, a)
	got, err := s.Get(t.Context(), "renamed")
	require.NoError(t, err)
	require.Equal(t, a, got)
	_, err = s.Get(t.Context(), "vm0001")
	require.ErrorIs(t, err, errors.ErrVMNotFound)

	reused := instance(3)
	reused.Name = "vm0001"
	create(t, s, reused)
	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, []string{"renamed", "vm0001", "vm0002"}, names(list))
}

func testDelete(t *testing.T, s vm.Store) {
	a, b := create(t, s, instance(1)), create(t, s, instance(2))
	require.NoError(t, s.Delete(t.Context(), a.ID, vm.Created, 1))
	for _, ref := range []string{a.ID, a.Name} {
		_, err := s.Get(t.Context(), ref)
		require.ErrorIs(t, err, errors.ErrVMNotFound)
	}
	require.ErrorIs(t, s.Delete(t.Context(), a.ID, vm.Created, 1), errors.ErrVMNotFound)
	requireSame(t, s, b)

	// The same ID and name again are a new record, with nothing of the old one.
	next := instance(1)
	next.Reason = "second life"
	again := create(t, s, next)
	require.EqualValues(t, 1, again.Version)
	requireSame(t, s, again)
	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, []vm.Instance{again, b}, list)
}

// race runs try in several goroutines at once and returns how many got no error. Other
// errors than those that allowed accepts fail the test.
func race(t *testing.T, try func(n int) error, allowed func(error) bool) int {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for n := range racers {
		wg.Go(func() {
			<-begin
			switch err := try(n); {
			case err == nil:
				won.Add(1)
			case !allowed(err):
				t.Errorf("unexpected error: %v", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	return int(won.Load())
}

// isConflict reports whether err says that somebody else was first, and names a
// record that really is another one.
func isConflict(err error) bool {
	var conflict *vm.ConflictError
	return errors.As(err, &conflict) && conflict.Current.Version > 1
}

func testConcurrentUpdate(t *testing.T, s vm.Store) {
	raceUpdates(t, []vm.Store{s})
}

// raceUpdates lets goroutines start the same VM through any of the stores.
func raceUpdates(t *testing.T, stores []vm.Store) {
	t.Helper()
	for round := range 10 {
		inst := create(t, stores[0], instance(round))
		won := race(t, func(n int) error {
			next := inst.Clone()
			next.State, next.Reason = vm.Starting, fmt.Sprint(n)
			_, err := stores[n%len(stores)].Update(t.Context(), next, vm.Created, 1)
			return err
		}, isConflict)
		require.Equal(t, 1, won)
		for _, s := range stores {
			got, err := s.Get(t.Context(), inst.ID)
			require.NoError(t, err)
			require.EqualValues(t, 2, got.Version)
			require.Equal(t, vm.Starting, got.State)
		}
	}
}

func testConcurrentCreate(t *testing.T, s vm.Store) {
	won := race(t, func(n int) error {
		inst := instance(n)
		inst.Name = "the-one"
		_, err := s.Create(t.Context(), inst)
		return err
	}, func(err error) bool { return errors.Is(err, errors.ErrVMAlreadyExists) })
	require.Equal(t, 1, won)
	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Len(t, list, 1)
}
