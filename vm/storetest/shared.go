package storetest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func testSharedVisible(t *testing.T, open func() vm.Store) {
	a, b := open(), open()
	inst := create(t, a, Whole(1))
	requireSame(t, b, inst)

	next, err := b.Update(t.Context(), inst, inst.State, inst.Version)
	require.NoError(t, err)
	requireSame(t, a, next)

	var conflict *vm.ConflictError
	_, err = a.Update(t.Context(), inst, inst.State, inst.Version)
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, next, conflict.Current)

	// A store that has listed a record must not take its successor of the same ID and
	// version for it.
	list, err := a.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, []vm.Instance{next}, list)
	require.NoError(t, b.Delete(t.Context(), next.ID, next.State, next.Version))
	again := create(t, b, Whole(1))
	again, err = b.Update(t.Context(), again, again.State, again.Version)
	require.NoError(t, err)
	list, err = a.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, []vm.Instance{again}, list)
}

func testSharedReopened(t *testing.T, open func() vm.Store) {
	a := open()
	inst := create(t, a, Whole(1))
	require.NoError(t, a.Close())
	b := open()
	requireSame(t, b, inst)
	_, err := b.Create(t.Context(), inst)
	require.ErrorIs(t, err, errors.ErrVMAlreadyExists)
}

func testSharedConcurrentUpdate(t *testing.T, open func() vm.Store) {
	raceUpdates(t, []vm.Store{open(), open(), open(), open()})
}

func testSharedChanges(t *testing.T, open func() vm.Store) {
	a, b := open(), open()
	changes := watch(t, a)
	requireNoChange(t, changes)

	inst := create(t, b, instance(1))
	requireChange(t, changes)
	inst, err := b.Update(t.Context(), inst, inst.State, inst.Version)
	require.NoError(t, err)
	requireChange(t, changes)
	require.NoError(t, b.Delete(t.Context(), inst.ID, inst.State, inst.Version))
	requireChange(t, changes)

	// The last of a burst is announced when it can be read, or a watcher would miss it.
	for n := range 20 {
		create(t, b, instance(n))
		requireListed(t, a, changes, n+1)
	}
}

func testSharedConcurrentOpen(t *testing.T, open func() vm.Store) {
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() { create(t, open(), instance(n)) })
	}
	wg.Wait()
	list, err := open().List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Len(t, list, 16)
}
