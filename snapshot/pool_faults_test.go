package snapshot_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestPoolDeath: a fork that ends while it waits is removed, replaced, and not handed out.
func TestPoolDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 2, Parallel: 1})
		settled(p)
		forks.kill("fork-1")
		require.Equal(t, "fork-2", getNow(t, p).ID, "before the pool can have noticed, too")
		require.Equal(t, snapshot.PoolStatus{Ready: 2, HandedOut: 1}, settled(p))
		require.Equal(t, []string{"fork-1"}, forks.removed)

		forks.kill("fork-3")
		require.Equal(t, snapshot.PoolStatus{Ready: 2, HandedOut: 1}, settled(p))
		require.Equal(t, []string{"fork-1", "fork-3"}, forks.removed)
	})
}

// TestPoolDeaths: where each fork ends at once they are made ever more slowly, and who waits is
// given one all the same.
func TestPoolDeaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 1, WarmUp: func(_ context.Context, fork vm.Instance) error {
			forks.kill(fork.ID)
			return nil
		}})
		time.Sleep(10 * time.Minute)
		require.Less(t, forks.seen(), 60)
		require.Greater(t, forks.seen(), 20)
		require.Zero(t, p.Status().Ready)
	})
}

// TestPoolFailure: who waits is told why no fork can be made, who comes later at once, the pool
// tries again with growing pauses, and hands out what is ready all the while.
func TestPoolFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks, full := newFakeForks(), errors.New("disk full")
		p := forks.pool(t, snapshot.PoolOptions{Size: 1, Parallel: 4})
		settled(p)
		forks.broken(full)
		getNow(t, p)
		begun := time.Now()
		_, err := p.Get(t.Context())
		require.ErrorIs(t, err, full)
		require.Equal(t, forkTime, time.Since(begun))
		_, err = p.Get(t.Context())
		require.ErrorIs(t, err, full)
		require.Equal(t, forkTime, time.Since(begun))
		require.ErrorIs(t, p.Status().Err, full)

		calls := forks.seen()
		time.Sleep(10 * time.Minute)
		require.Less(t, forks.seen()-calls, 40)
		require.Greater(t, forks.seen()-calls, 20)
		forks.broken(nil)
		require.Equal(t, snapshot.PoolStatus{Ready: 1, HandedOut: 1}, settled(p))
		getNow(t, p)
		_, err = p.Get(t.Context())
		require.NoError(t, err, "nothing is left of the failures")
	})
}

// TestPoolOneOfTwoFails: a fork that can't be made is nobody's failure while another is under way.
func TestPoolOneOfTwoFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 1, Parallel: 2})
		time.AfterFunc(forkTime-1, func() { forks.broken(errors.New("once")) })
		time.AfterFunc(forkTime+1, func() { forks.broken(nil) })
		time.Sleep(forkTime / 2) // the first fork fails, the second comes later
		_, err := p.Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, snapshot.PoolStatus{Ready: 1, HandedOut: 1}, settled(p))
	})
}

// TestPoolTemplateGone: what will never work again is not tried again.
func TestPoolTemplateGone(t *testing.T) {
	for name, kind := range map[string]*errors.Kind{"deleted": errors.ErrTemplateNotFound, "does not fit": errors.ErrTemplateMismatch} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forks := newFakeForks()
				forks.broken(&errors.Error{Kind: kind, Op: "fork"})
				p := forks.pool(t, snapshot.PoolOptions{Size: 2, Parallel: 1})
				for range 3 {
					settled(p)
					_, err := p.Get(t.Context())
					require.ErrorIs(t, err, kind)
				}
				require.Equal(t, 1, forks.seen())
			})
		})
	}
}

// TestPoolOtherTemplate: a pool hands out forks of the template that it was made for, and of none
// that has its name later.
func TestPoolOtherTemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks := newFakeForks()
		p := forks.pool(t, snapshot.PoolOptions{Size: 1})
		settled(p)
		forks.template = "id-of-another"
		getNow(t, p)
		_, err := p.Get(t.Context())
		require.ErrorIs(t, err, errors.ErrTemplateNotFound)
		require.Equal(t, []string{"fork-2"}, forks.removed)
	})
}

// TestPoolOptions: what makes no sense is refused before anything is made, and the defaults do.
func TestPoolOptions(t *testing.T) {
	for name, o := range map[string]snapshot.PoolOptions{
		"size":     {Size: -1},
		"parallel": {Parallel: -1},
		"memory":   {Memory: 100 * vm.MiB}, // a fork of 256 MiB is counted with 128
		"name":     {Fork: []snapshot.ForkOption{snapshot.ForkName("web")}},
	} {
		t.Run(name, func(t *testing.T) {
			forks := newFakeForks()
			_, err := snapshot.NewPool(t.Context(), forks, "base", o)
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			require.ErrorContains(t, err, "base")
			require.Zero(t, forks.seen())
		})
	}
	_, err := snapshot.NewPool(t.Context(), newFakeForks(), "other", snapshot.PoolOptions{})
	require.ErrorIs(t, err, errors.ErrTemplateNotFound)
	_, err = snapshot.NewPool(t.Context(), nil, "base", snapshot.PoolOptions{})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, snapshot.PoolStatus{Ready: 2}, settled(newFakeForks().pool(t, snapshot.PoolOptions{})))
	})
	require.Equal(t, 128*vm.MiB, snapshot.ForkMemory(snapshot.Template{Memory: 256 * vm.MiB, Shared: true}))
	require.Equal(t, 320*vm.MiB, snapshot.ForkMemory(snapshot.Template{Memory: 256 * vm.MiB}))
}

// TestPoolNotRemoved: Close tells which forks are left.
func TestPoolNotRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forks, stuck := newFakeForks(), errors.New("it does not end")
		p, err := snapshot.NewPool(t.Context(), forks, "base", snapshot.PoolOptions{Size: 1})
		require.NoError(t, err)
		settled(p)
		forks.stubborn = stuck
		require.ErrorIs(t, p.Close(), stuck)
		require.ErrorIs(t, p.Close(), stuck)
	})
}
