package snapshot_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// forkTime is how long fakeForks takes to make a fork, by the bubble's clock.
const forkTime = 100 * time.Millisecond

// noticeTime is how long after a guest has ended Guard tells so.
const noticeTime = time.Millisecond

// fakeForks makes forks out of nothing, and remembers what became of them.
type fakeForks struct {
	mu       sync.Mutex
	made     int
	making   int
	most     int // were being made at once
	fail     error
	stubborn error // of Remove
	live     map[string]context.CancelCauseFunc
	peak     int // lived at once
	removed  []string
	calls    int    // of Fork
	template string // its ID
}

func newFakeForks() *fakeForks {
	return &fakeForks{template: "id-of-base", live: map[string]context.CancelCauseFunc{}}
}

func (f *fakeForks) Template(_ context.Context, name string) (snapshot.Template, error) {
	if name != "base" {
		return snapshot.Template{}, &errors.Error{Kind: errors.ErrTemplateNotFound, Op: "find template " + name}
	}
	return snapshot.Template{Name: name, ID: "id-of-base", Memory: 256 * vm.MiB, Shared: true}, nil
}

func (f *fakeForks) Fork(ctx context.Context, _ string, _ ...snapshot.ForkOption) (vm.Instance, error) {
	f.mu.Lock()
	f.calls++
	f.making++
	f.most = max(f.most, f.making)
	f.mu.Unlock()
	select {
	case <-time.After(forkTime):
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.making--
	if ctx.Err() != nil {
		return vm.Instance{}, ctx.Err()
	}
	if f.fail != nil {
		return vm.Instance{}, f.fail
	}
	f.made++
	id := "fork-" + strconv.Itoa(f.made)
	f.live[id] = nil
	f.peak = max(f.peak, len(f.live))
	return vm.Instance{ID: id, Name: id, Fork: &vm.Fork{Template: "base", ID: f.template}}, nil
}

// fakeGuest ends with a context.
type fakeGuest struct {
	vm.Guest
	life context.Context
}

func (g fakeGuest) Done() <-chan struct{} { return g.life.Done() }

func (f *fakeForks) Live(_ context.Context, ref string) (vm.Guest, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	life, cancel := context.WithCancelCause(context.Background())
	f.live[ref] = cancel
	return fakeGuest{life: life}, nil
}

// Guard tells of the end later than the guest does.
func (f *fakeForks) Guard(ctx context.Context, ref string) (context.Context, context.CancelFunc, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	end := f.live[ref]
	f.live[ref] = func(cause error) {
		end(cause)
		time.AfterFunc(noticeTime, func() { cancel(cause) })
	}
	return ctx, func() { cancel(nil) }, nil
}

func (f *fakeForks) Remove(ctx context.Context, ref string, _ ...vm.RemoveOption) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	delete(f.live, ref)
	f.removed = append(f.removed, ref)
	return f.stubborn
}

// kill ends a fork's guest.
func (f *fakeForks) kill(ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live[ref](errors.ErrVMNotRunning)
	delete(f.live, ref)
}

// broken makes the next attempts fail; nil: work again.
func (f *fakeForks) broken(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// seen returns how often Fork was called.
func (f *fakeForks) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fakeForks) alive() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.live)
}

// pool makes a pool that the end of the test closes.
func (f *fakeForks) pool(t *testing.T, o snapshot.PoolOptions) *snapshot.Pool {
	t.Helper()
	p, err := snapshot.NewPool(t.Context(), f, "base", o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}
