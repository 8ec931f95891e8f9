package snapshot_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// settled lets the bubble's clock run until the pool has done all it can.
func settled(p *snapshot.Pool) snapshot.PoolStatus {
	time.Sleep(time.Hour)
	synctest.Wait()
	return p.Status()
}

// getNow is a Get that is served without any time going by.
func getNow(t *testing.T, p *snapshot.Pool) vm.Instance {
	t.Helper()
	begun := time.Now()
	inst, err := p.Get(t.Context())
	require.NoError(t, err)
	require.Zero(t, time.Since(begun))
	return inst
}

// TestPoolRefills: as many as asked for are ready, what is handed out is replaced, none is handed
// out twice, and Close removes those that nobody got and no other.
func TestPoolRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 3, Parallel: 2})
		require.Equal(t, 2, p.Status().Making)
		require.Equal(t, snapshot.PoolStatus{Ready: 3}, settled(p))
		require.Equal(t, 2, forks.most, "made at once")

		got := map[string]bool{}
		for range 3 {
			got[getNow(t, p).ID] = true
		}
		require.Len(t, got, 3)
		require.Equal(t, snapshot.PoolStatus{Ready: 3, HandedOut: 3}, settled(p))
		require.NoError(t, p.Close())
		require.Equal(t, 3, forks.alive())
		for _, id := range forks.removed {
			require.NotContains(t, got, id)
		}
		_, err := p.Get(t.Context())
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errors.ErrSnapshot)
		for id := range got {
			forks.kill(id) // nobody watches any more
		}
	})
}

// TestPoolWarmUp: a fork is ready when it is warm, and one that can't be warmed up is removed.
func TestPoolWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks, warm, cold := newFakeForks(), map[string]bool{}, errors.New("too cold")
		p := forks.pool(t, snapshot.PoolOptions{Size: 2, Parallel: 1, WarmUp: func(ctx context.Context, fork vm.Instance) error {
			if len(forks.removed) == 0 {
				return cold
			}
			warm[fork.ID] = true
			return ctx.Err()
		}})
		_, err := p.Get(t.Context())
		require.ErrorIs(t, err, cold)
		require.Equal(t, snapshot.PoolStatus{Ready: 2}, settled(p))
		require.True(t, warm[getNow(t, p).ID])
		require.Equal(t, []string{"fork-1"}, forks.removed)
	})
}

// TestPoolMemory: forks that were handed out count until their guests end, and those who wait
// are told what they wait for.
func TestPoolMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 2, Parallel: 8, Memory: 3 * vm.GiB, PerFork: vm.GiB})
		settled(p)
		first := getNow(t, p)
		getNow(t, p)
		require.Equal(t, snapshot.PoolStatus{Ready: 1, HandedOut: 2}, settled(p), "2 are wanted, and 3 fit")
		getNow(t, p)

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := p.Get(ctx)
		require.ErrorIs(t, err, errors.ErrWaitTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "base")
		require.ErrorContains(t, err, "3 are handed out")

		time.AfterFunc(time.Second, func() { forks.kill(first.ID) })
		begun := time.Now()
		_, err = p.Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, time.Second+noticeTime+forkTime, time.Since(begun))
		require.Equal(t, 3, forks.peak)
		require.NotContains(t, forks.removed, first.ID, "it belongs to who got it")
	})
}

// TestPoolManyGets: each gets one of its own, in turn, whatever the pool's size.
func TestPoolManyGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 64
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 2, Parallel: 4})
		var mu sync.Mutex
		got := map[string]bool{}
		var wg sync.WaitGroup
		for range many {
			wg.Go(func() {
				inst, err := p.Get(t.Context())
				mu.Lock()
				defer mu.Unlock()
				got[inst.ID] = err == nil
			})
		}
		wg.Wait()
		require.Len(t, got, many)
		require.NotContains(t, got, "")
		require.Equal(t, snapshot.PoolStatus{Ready: 2, HandedOut: many}, settled(p))
		require.Equal(t, 4, forks.most)
	})
}

// TestPoolGetCancelled: a Get that is given up takes no fork, and is not made one for either once
// others are served.
func TestPoolGetCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 1, Parallel: 1})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		settled(p)
		_, err := p.Get(ended)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, snapshot.PoolStatus{Ready: 1}, p.Status())

		getNow(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), forkTime/2)
		defer cancel()
		_, err = p.Get(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, snapshot.PoolStatus{Making: 1, HandedOut: 1}, p.Status())
		require.Equal(t, snapshot.PoolStatus{Ready: 1, HandedOut: 1}, settled(p))

		// At the very moment at which the fork is ready: it is handed out, or stays.
		for range 100 {
			out := p.Status().HandedOut
			for p.Status().Ready > 0 {
				getNow(t, p)
				out++
			}
			ctx, cancel := context.WithTimeout(t.Context(), forkTime)
			if _, err := p.Get(ctx); err == nil {
				out++
			}
			cancel()
			require.Equal(t, snapshot.PoolStatus{Ready: 1, HandedOut: out}, settled(p))
		}
	})
}

// TestPoolCloseEarly: Close ends what is under way, also the calls that wait.
func TestPoolCloseEarly(t *testing.T) {
	for name, after := range map[string]time.Duration{"at once": 0, "forks are being made": forkTime / 2, "some are ready": forkTime * 3 / 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forks := newFakeForks()
				p := forks.pool(t, snapshot.PoolOptions{Size: 4, Parallel: 2})
				time.Sleep(after)
				for p.Status().Ready > 1 {
					getNow(t, p)
				}
				out := p.Status().HandedOut
				begun := time.Now()
				var wg sync.WaitGroup
				closed := make(chan error, 3)
				for range cap(closed) {
					wg.Go(func() { closed <- p.Close() })
				}
				wg.Wait()
				for range cap(closed) {
					require.NoError(t, <-closed)
				}
				require.Zero(t, time.Since(begun))
				require.Equal(t, out, forks.alive())
				calls := forks.seen()
				settled(p)
				require.Equal(t, calls, forks.seen())
			})
		})
	}
}

// TestPoolCloseTellsWaiting: who waits when the pool is closed does not wait for ever.
func TestPoolCloseTellsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 1})
		time.AfterFunc(forkTime/2, func() { _ = p.Close() })
		_, err := p.Get(t.Context())
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "closed")
		require.Zero(t, forks.alive())
	})
}
