package maqettest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

func granted(s *share) bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

func TestBudgetIsFirstComeFirstServed(t *testing.T) {
	b := &budget{total: 10}
	a := b.ask("A", 6)
	require.True(t, granted(a))
	large, small := b.ask("B", 5), b.ask("C", 2)
	require.False(t, granted(large))
	require.False(t, granted(small), "it would fit, but is not the first")
	a.release()
	require.True(t, granted(large))
	require.True(t, granted(small))
	large.release()
	large.release() // does nothing
	small.release()
	require.Zero(t, b.used)
	require.Empty(t, b.tests)
}

// TestBudgetHolderNeverWaits: who has a guest gets the next one, whatever is left, and whoever
// is before him.
func TestBudgetHolderNeverWaits(t *testing.T) {
	b := &budget{total: 10}
	a := b.ask("A", 10)
	other, again := b.ask("B", 1), b.ask("A", 10)
	require.True(t, granted(a))
	require.False(t, granted(other))
	require.True(t, granted(again))
	a.release()
	require.False(t, granted(other), "all is used")
	again.release()
	require.True(t, granted(other))
}

// TestBudgetSubtests: two parts of one test ask while others use everything. Once one is served,
// so is the other: the first may wait for it.
func TestBudgetSubtests(t *testing.T) {
	b := &budget{total: 10}
	a := b.ask("A", 10)
	one, between, two := b.ask("B", 10), b.ask("C", 1), b.ask("B", 10)
	require.False(t, granted(one) || granted(between) || granted(two))
	a.release()
	require.True(t, granted(one))
	require.True(t, granted(two))
	require.False(t, granted(between))
}

func TestBudgetTooLargeRunsAlone(t *testing.T) {
	b := &budget{total: 10}
	small := b.ask("A", 1)
	large, after := b.ask("B", 50), b.ask("C", 1)
	require.False(t, granted(large))
	small.release()
	require.True(t, granted(large))
	require.False(t, granted(after))
	large.release()
	require.True(t, granted(after))
}

// TestBudgetGivesUp: a wish that is given up does not hold others up, and holds nothing.
func TestBudgetGivesUp(t *testing.T) {
	b := &budget{total: 10}
	a := b.ask("A", 6)
	large, small := b.ask("B", 6), b.ask("C", 2)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	var log strings.Builder
	err := large.wait(ctx, func(format string, args ...any) { fmt.Fprintf(&log, format, args...) }, "vm-b")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "maqettest: vm-b waits for 6 of memory: of the 10 that MAQET_TEST_MEMORY allows, 6 are used, by guests of A", log.String())
	require.True(t, granted(small))
	a.release()
	require.False(t, granted(large))
	small.release()
	require.Zero(t, b.used)
	require.Empty(t, b.queue)
}

// TestBudgetTemplate: a template waits as a guest does, until somebody waits for it for whom
// others may wait. Afterwards its memory stays in use.
func TestBudgetTemplate(t *testing.T) {
	b := &budget{total: 10}
	a := b.ask("A", 5)
	tmpl := b.askTemplate(6)
	tmpl.join("B")
	require.False(t, granted(tmpl))
	tmpl.join("A")
	require.True(t, granted(tmpl))
	tmpl.settle()
	tmpl.settle() // does nothing
	next := b.ask("B", 5)
	require.False(t, granted(next))
	a.release()
	require.True(t, granted(next), "nobody has a guest")
	next.release()
	tmpl.release()
	require.Zero(t, b.used)
	require.Zero(t, b.boots)
}

// TestBudgetTemplatesBootOneByOne where they don't fit beside each other.
func TestBudgetTemplatesBootOneByOne(t *testing.T) {
	b := &budget{total: 10}
	one, two := b.askTemplate(20), b.askTemplate(20)
	one.join("A")
	two.join("B")
	require.True(t, granted(one))
	require.False(t, granted(two))
	one.settle()
	require.True(t, granted(two))
	two.release() // it failed
	require.Equal(t, vm.Size(20), b.used)
	require.Zero(t, b.boots)
}

// TestBudgetNeverDeadlocks has many tests ask for guests and templates in all orders, which
// they hold for a while, together with their subtests. In a bubble of synctest a deadlock is
// found at once.
func TestBudgetNeverDeadlocks(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			b := &budget{total: 10}
			templates := []*lazyShare{{size: 3}, {size: 8}, {size: 30}}
			var guests atomic.Int64
			var wg sync.WaitGroup
			for i := range 20 {
				dice := rand.New(rand.NewPCG(seed, uint64(i)))
				wg.Go(func() { simulate(t, b, fmt.Sprintf("Test%d", i), dice, templates, &guests) })
			}
			wg.Wait()
			for _, l := range templates {
				l.share.release()
			}
			require.Zero(t, b.used, "seed %d", seed)
			require.Empty(t, b.tests)
			require.Zero(t, b.boots)
			require.Greater(t, guests.Load(), int64(20))
		})
	}
}

// lazyShare is the part of a template that matters here.
type lazyShare struct {
	size vm.Size
	mu   sync.Mutex
	made chan struct{}

	share *share
}

func (l *lazyShare) fork(b *budget, test string) {
	l.mu.Lock()
	if l.made == nil {
		l.made, l.share = make(chan struct{}), b.askTemplate(l.size)
		go func() {
			<-l.share.ready
			time.Sleep(time.Second)
			l.share.settle()
			close(l.made)
		}()
	}
	l.share.join(test)
	l.mu.Unlock()
	<-l.made
}

// simulate is a test: it takes guests one after the other, and has a subtest beside that does
// the same and that it waits for while it has them.
func simulate(t *testing.T, b *budget, name string, dice *rand.Rand, templates []*lazyShare, guests *atomic.Int64) {
	take := func(dice *rand.Rand) (held []*share) {
		for range 1 + dice.IntN(3) {
			time.Sleep(time.Duration(dice.IntN(3000)) * time.Millisecond)
			if dice.IntN(2) == 0 {
				templates[dice.IntN(len(templates))].fork(b, name)
			}
			s := b.ask(name, vm.Size(1+dice.IntN(14)))
			require.NoError(t, s.wait(t.Context(), func(string, ...any) {}, name))
			guests.Add(1)
			held = append(held, s)
		}
		return held
	}
	other := rand.New(rand.NewPCG(dice.Uint64(), 0))
	var sub sync.WaitGroup
	sub.Go(func() {
		for _, s := range take(other) {
			s.release()
		}
	})
	held := take(dice)
	sub.Wait()
	for _, s := range held {
		s.release()
	}
}

func TestTopTest(t *testing.T) {
	require.Equal(t, "TestA", topTest("TestA/b/c"))
	require.Equal(t, "TestA", topTest("TestA"))
}

// ownBudget gives the test a program of its own.
func ownBudget(t *testing.T, text string) {
	t.Helper()
	t.Setenv(envMemory, text)
	old := program
	program = &suite{}
	t.Cleanup(func() { program = old })
}

func TestBootWithWrongBudget(t *testing.T) {
	ownTemp(t)
	for _, text := range []string{"many", "0", "-1G"} {
		ownBudget(t, text)
		r := record(t, func(r *recorder) { Boot(r) })
		require.True(t, r.failed)
		require.Contains(t, r.log.String(), envMemory)
		require.Contains(t, r.log.String(), text)
	}
}

// TestBudgetHoldsGuestsBack boots two guests where there is room for one.
func TestBudgetHoldsGuestsBack(t *testing.T) {
	needQEMU(t)
	ownBudget(t, "300M")
	first, second := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var running atomic.Int32
	wg.Go(func() {
		recordAs(t, "TestFirst", func(r *recorder) {
			Boot(r, unbooted())
			running.Add(1)
			close(first)
			<-second
			time.Sleep(time.Second) // time for the other to do wrong
			Boot(r, unbooted(), Memory(128*vm.MiB))
			running.Add(-1)
		})
	})
	<-first
	var got *recorder
	wg.Go(func() {
		got = recordAs(t, "TestSecond", func(r *recorder) {
			close(second)
			Boot(r, unbooted())
			if running.Load() != 0 {
				t.Error("two guests run")
			}
		})
	})
	wg.Wait()
	require.False(t, got.failed, got.log.String())
	require.Regexp(t, `waits for 256M of memory: of the 300M that MAQET_TEST_MEMORY allows, 256M are used, by guests of TestFirst\n`, got.log.String())
}
