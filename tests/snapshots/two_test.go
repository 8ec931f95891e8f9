package snapshots_test

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// TestTwoProcesses has two processes work on one VM at once. Each is done or is told, by an
// error of the right kind, why not; none hangs, and what is left is in order.
func TestTwoProcesses(t *testing.T) {
	for _, c := range []struct {
		one, other string
		live       bool
		told       []string // kinds of which an error is one; none: both are done
		once       bool     // exactly one is told
	}{
		{one: "create internal", other: "create another internal"},
		{one: "create internal", other: "create internal", told: []string{"exists"}, once: true},
		{one: "create internal", other: "load internal"},
		{one: "create internal", other: "delete internal"},
		{one: "delete internal", other: "delete internal", told: []string{"not found"}, once: true},
		{one: "load internal", other: "delete internal", told: []string{"not found"}},
		{one: "create internal", other: "start"},
		{one: "create internal", other: "remove", told: []string{"no VM"}},
		{one: "create memory", other: "create another memory", live: true},
		{one: "create memory", other: "create memory", live: true, told: []string{"exists"}, once: true},
		{one: "create memory", other: "create another external", live: true},
		{one: "create external", other: "create another external", live: true},
		{one: "create external", other: "create external", live: true, told: []string{"exists"}, once: true},
		{one: "create memory", other: "load memory", live: true},
		{one: "create memory", other: "stop", live: true, told: []string{"creation", "qmp", "lifecycle"}},
		{one: "create external", other: "stop", live: true, told: []string{"creation", "qmp", "lifecycle"}},
		{one: "load memory", other: "stop", live: true, told: []string{"snapshot", "qmp", "lifecycle"}},
		{one: "commit external", other: "stop", live: true, told: []string{"snapshot", "qmp", "lifecycle"}},
		{one: "create memory", other: "remove", live: true, told: []string{"no VM", "creation", "qmp", "lifecycle"}},
	} {
		t.Run(c.one+" and "+c.other, func(t *testing.T) {
			t.Parallel()
			from := operationOf(c.one).from
			if o := operationOf(c.other).from; o != "" {
				from = o
			}
			tp := newTemplate(t, from)
			rounds := 1
			if long() {
				rounds = 30
			}
			for range rounds {
				tp.reset(t)
				p := openVictim(t, tp.dir)
				p.settle(c.live)
				p.close()
				told := tp.both(t, c.one, c.other, c.told)
				require.True(t, !c.once || told == 1, "%d were told", told)
				tp.inOrder(t)
			}
		})
	}
}

// both has two processes do one operation each, and returns how many were told why not.
func (tp *template) both(t *testing.T, one, other string, kinds []string) (told int) {
	t.Helper()
	var wg sync.WaitGroup
	reports := make([]report, 2)
	problems := make([]error, 2)
	for i, name := range []string{one, other} {
		wg.Go(func() {
			reports[i], problems[i] = fault{Op: name, Dir: tp.dir, Untraced: true}.child(t.Context(), t.TempDir())
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(problems...))
	for _, rep := range reports {
		if rep.Err == "" {
			continue
		}
		told++
		t.Logf("told: %s", rep.Err)
		require.True(t, slices.ContainsFunc(rep.Kinds, func(k string) bool { return slices.Contains(kinds, k) }), "%s", rep.Err)
	}
	return told
}

// inOrder checks a VM of which only is known that it must be in order, or gone.
func (tp *template) inOrder(t *testing.T) {
	t.Helper()
	p := openVictim(t, tp.dir)
	defer p.close()
	_, err := p.m.VM.Reconcile(t.Context())
	require.NoError(t, err)
	if _, err := p.m.VM.Get(t.Context(), victim); errors.Is(err, errors.ErrVMNotFound) {
		require.Len(t, p.images(), 1, "only what the user brought is left")
		require.Empty(t, processesOf(t, tp.dir))
		return
	}
	p.mend(1)
	p.requireTruth()
	found := state{p.present(), map[string]int{}}
	for name := range p.list() {
		found.snapshots[name] = 2
	}
	if _, ok := found.snapshots[base]; ok {
		found.snapshots[base] = 1
	}
	for name := range maps.Keys(found.snapshots) {
		err := p.m.Snapshot.Load(t.Context(), victim, name)
		if errors.Is(err, errors.ErrSnapshotBlocked) { // an external one was made later
			continue
		}
		require.NoError(t, err)
		require.Contains(t, []int{1, found.snapshots[name]}, p.present(), "a snapshot after a load is of generation 1")
	}
	p.settle(false)
	p.requireTruth()
	p.requireSound()
}
