package cleanup_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/cleanup"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeVMs is a manager of VMs that exist only here. A VM's name says what goes wrong.
type fakeVMs struct {
	mu       sync.Mutex
	list     []vm.Instance
	listErr  error
	changed  []vm.Instance
	stops    []string // in the order in which they began
	removes  []string
	options  int
	busy     int
	busiest  int
	deadline time.Duration // of the last stop
	slow     time.Duration // how long a stop takes
}

func newFake(names ...string) *fakeVMs {
	f := &fakeVMs{}
	for _, n := range names {
		f.list = append(f.list, vm.Instance{ID: "id-" + n, Name: n, State: vm.Running})
	}
	return f
}

func (f *fakeVMs) List(_ context.Context, filter vm.Filter) ([]vm.Instance, error) {
	var out []vm.Instance
	for _, inst := range f.list {
		if filter.Matches(inst) {
			out = append(out, inst)
		}
	}
	return out, f.listErr
}

func (f *fakeVMs) Stop(ctx context.Context, ref string, opts ...vm.StopOption) (vm.StopReport, error) {
	f.mu.Lock()
	f.stops, f.options = append(f.stops, ref), len(opts)
	f.busy++
	f.busiest = max(f.busiest, f.busy)
	if end, ok := ctx.Deadline(); ok {
		f.deadline = time.Until(end)
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.busy--
	}()
	switch ref {
	case "id-stuck":
		<-ctx.Done()
		return vm.StopReport{}, errors.Wrap(errors.ErrVMStop, "stop VM", ref, ctx.Err())
	case "id-lost":
		return vm.StopReport{}, &errors.Error{Kind: errors.ErrVMNotFound, VM: ref}
	}
	select {
	case <-time.After(f.slow):
		return vm.StopReport{Step: "agent", Graceful: true}, nil
	case <-ctx.Done():
		return vm.StopReport{}, ctx.Err()
	}
}

func (f *fakeVMs) Remove(_ context.Context, ref string, _ ...vm.RemoveOption) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removes = append(f.removes, ref)
	return nil
}

func (f *fakeVMs) Reconcile(context.Context) ([]vm.Instance, error) { return f.changed, nil }

func TestStopAll(t *testing.T) {
	f := newFake("a", "b", "c", "d")
	f.list[1].State = vm.Stopped
	f.list[2].State, f.list[2].Reason = vm.Failed, vm.ReasonHostUnreachable
	f.list[3].State, f.list[3].Reason = vm.Failed, vm.ReasonVanished
	report, err := cleanup.New(f).StopAll(t.Context(), cleanup.StopWith(vm.Force()), cleanup.StopWith(vm.StopTimeout(1)))
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.ElementsMatch(t, []string{"id-a", "id-c"}, f.stops, "what is not live is left alone")
	require.Empty(t, f.removes)
	require.Equal(t, 2, f.options)
	require.Len(t, report.Rows, 2)
	require.Equal(t, "a", report.Rows[0].Name)
	require.Equal(t, "id-c", report.Rows[1].ID)
	require.Equal(t, "stopped", report.Rows[0].Action)
	require.Equal(t, "agent", report.Rows[0].Step)
	require.Positive(t, report.Duration)
	require.Greater(t, f.deadline, 80*time.Second, "the default time-out")
}

func TestStuckVMDelaysNobody(t *testing.T) {
	f := newFake("a", "lost", "stuck", "z")
	begun := time.Now()
	report, err := cleanup.New(f).StopAll(t.Context(), cleanup.Timeout(300*time.Millisecond), cleanup.Parallel(2), cleanup.AndRemove())
	require.Less(t, time.Since(begun), 2*time.Second)
	require.ErrorIs(t, err, errors.ErrVMStop)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, report.Rows, 4)
	for _, row := range report.Rows {
		switch row.Name {
		case "stuck":
			require.Error(t, row.Err)
			require.Equal(t, "stopped", row.Action, "what failed")
		case "lost":
			require.NoError(t, row.Err, "somebody else removed it")
		default:
			require.NoError(t, row.Err)
			require.Equal(t, "removed", row.Action)
			require.Less(t, row.Duration, 200*time.Millisecond)
		}
	}
	require.ElementsMatch(t, []string{"id-a", "id-z"}, f.removes, "what could not be stopped is not removed")
}

func TestParallelIsBounded(t *testing.T) {
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("vm%02d", i))
	}
	for _, c := range []struct {
		opts []cleanup.Option
		want int
	}{{nil, 8}, {[]cleanup.Option{cleanup.Parallel(3)}, 3}, {[]cleanup.Option{cleanup.Parallel(0)}, 1}} {
		f := newFake(names...)
		f.slow = 10 * time.Millisecond
		report, err := cleanup.New(f).StopAll(t.Context(), c.opts...)
		require.NoError(t, err)
		require.Equal(t, c.want, f.busiest)
		for i, row := range report.Rows {
			require.Equal(t, names[i], row.Name, "in the order of the names")
		}
	}
}

func TestWhichVMs(t *testing.T) {
	f := newFake("a", "b", "c", "d")
	f.list[3].State = vm.Created
	report, err := cleanup.New(f).StopAll(t.Context(),
		cleanup.Matching(vm.Filter{Names: []string{"a", "b", "d"}}),
		cleanup.Only(func(i vm.Instance) bool { return i.Name != "a" }), cleanup.AndRemove())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"id-b", "id-d"}, f.removes)
	require.ElementsMatch(t, []string{"id-b", "id-d"}, f.stops, "d may be about to start")
	require.Len(t, report.Rows, 2)
}

func TestCancelled(t *testing.T) {
	f := newFake("a", "b", "stuck")
	f.slow = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	begun := time.Now()
	report, err := cleanup.New(f).StopAll(ctx)
	require.Less(t, time.Since(begun), 2*time.Second)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, report.Rows, 3)
}

func TestListFails(t *testing.T) {
	f := newFake("a")
	f.listErr = errors.ErrDatabase
	_, err := cleanup.New(f).StopAll(t.Context())
	require.ErrorIs(t, err, errors.ErrDatabase)
	require.Empty(t, f.stops)
}

func TestSweep(t *testing.T) {
	f := newFake("kept")
	f.changed = []vm.Instance{
		{ID: "id-kept", Name: "kept", State: vm.Failed, Reason: vm.ReasonVanished},
		{ID: "id-gone", Name: "gone", State: vm.Failed, Reason: vm.ReasonOwnerDied},
	}
	report, err := cleanup.New(f).Sweep(t.Context())
	require.NoError(t, err)
	require.Len(t, report.Rows, 2)
	require.Equal(t, "failed: vanished", report.Rows[0].Action)
	require.Equal(t, "removed", report.Rows[1].Action)

	f.changed = nil
	report, err = cleanup.New(f).Sweep(t.Context())
	require.NoError(t, err)
	require.Empty(t, report.Rows)
}
