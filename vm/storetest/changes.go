package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// patience is how long a value that must come may take on a busy machine, quiet how
// long one that must not come is waited for.
const (
	patience = 10 * time.Second
	quiet    = 50 * time.Millisecond
)

func watch(t *testing.T, s vm.Store) <-chan struct{} {
	t.Helper()
	c, err := s.Changes(t.Context())
	require.NoError(t, err)
	return c
}

// requireChange waits for a value, and then for as long as c is quiet.
func requireChange(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case _, ok := <-c:
		require.True(t, ok, "the channel was closed")
	case <-time.After(patience):
		t.Fatal("no value after a change")
	}
	for {
		select {
		case _, ok := <-c:
			require.True(t, ok, "the channel was closed")
		case <-time.After(quiet):
			return
		}
	}
}

func requireNoChange(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case _, ok := <-c:
		t.Fatalf("a value without a change, or a closed channel: %v", ok)
	case <-time.After(quiet):
	}
}

// requireClosed waits for the end of c.
func requireClosed(t *testing.T, c <-chan struct{}) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-c:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the channel was not closed")
		}
	}
}

func testChanges(t *testing.T, s vm.Store) {
	a, b := watch(t, s), watch(t, s)
	requireNoChange(t, a)

	inst := create(t, s, instance(1))
	requireChange(t, a)
	requireChange(t, b)

	_, err := s.Update(t.Context(), inst, vm.Running, 1)
	require.Error(t, err)
	_, err = s.Create(t.Context(), inst)
	require.Error(t, err)
	_, err = s.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	requireNoChange(t, a)

	inst, err = s.Update(t.Context(), inst, vm.Created, 1)
	require.NoError(t, err)
	requireChange(t, a)

	require.NoError(t, s.Delete(t.Context(), inst.ID, inst.State, inst.Version))
	requireChange(t, a)
	requireChange(t, b)
}

// A listener that does not read neither blocks anybody nor misses the last change.
func testChangesCoalesce(t *testing.T, s vm.Store) {
	c := watch(t, s)
	inst := create(t, s, instance(1))
	for range 100 {
		var err error
		inst, err = s.Update(t.Context(), inst, inst.State, inst.Version)
		require.NoError(t, err)
	}
	requireChange(t, c)

	// Whoever lists after each value ends up with the present truth.
	go func() {
		for n := range 50 {
			if _, err := s.Create(context.WithoutCancel(t.Context()), instance(100+n)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	requireListed(t, s, c, 51)
}

// requireListed lists after each value from c until there are n instances.
func requireListed(t *testing.T, s vm.Store, c <-chan struct{}, n int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case <-c:
		case <-deadline:
			t.Fatal("the last change was not announced")
		}
		list, err := s.List(t.Context(), vm.Filter{})
		require.NoError(t, err)
		if len(list) == n {
			return
		}
	}
}

func testChangesEnd(t *testing.T, s vm.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	ends, err := s.Changes(ctx)
	require.NoError(t, err)
	stays := watch(t, s)

	cancel()
	requireClosed(t, ends)
	create(t, s, instance(1))
	requireChange(t, stays)

	_, err = s.Changes(ctx)
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, s.Close())
	requireClosed(t, stays)
}

// calls is every method of a store that can fail.
func calls(ctx context.Context, s vm.Store, inst vm.Instance) map[string]error {
	_, errCreate := s.Create(ctx, instance(999))
	_, errGet := s.Get(ctx, inst.ID)
	_, errList := s.List(ctx, vm.Filter{})
	_, errUpdate := s.Update(ctx, inst, inst.State, inst.Version)
	errDelete := s.Delete(ctx, inst.ID, inst.State, inst.Version)
	_, errChanges := s.Changes(ctx)
	return map[string]error{
		"Create": errCreate, "Get": errGet, "List": errList,
		"Update": errUpdate, "Delete": errDelete, "Changes": errChanges,
	}
}

func testContextCancelled(t *testing.T, s vm.Store) {
	inst := create(t, s, instance(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	for name, err := range calls(ctx, s, inst) {
		require.ErrorIs(t, err, context.Canceled, name)
		require.ErrorIs(t, err, errors.ErrDatabase, name)
	}
	require.Less(t, time.Since(start), 100*time.Millisecond)

	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, []vm.Instance{inst}, list)
}

func testClosed(t *testing.T, s vm.Store) {
	inst := create(t, s, instance(1))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	for name, err := range calls(t.Context(), s, inst) {
		require.ErrorIs(t, err, errors.ErrDatabase, name)
	}
}
