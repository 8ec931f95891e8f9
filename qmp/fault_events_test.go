package qmp

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp/qmptest"
)

// A hundred thousand events as fast as they can be written, and a subscriber that reads
// none of them. One that reads loses none, the other is told how many it lost, commands
// are answered meanwhile, and memory is bounded.
func TestFloodOfEvents(t *testing.T) {
	const count = 100_000
	s, c := fakeQEMU(t)
	stalled := c.Subscribe("FLOOD")
	fast := c.Subscribe("FLOOD")
	before := heap()
	stop, answered := make(chan struct{}), 0
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := c.Execute(context.Background(), "query-status", nil); err != nil {
				t.Error(err)
				return
			}
			answered++
		}
	})
	work.Go(func() { s.Inject(qmptest.Flood("FLOOD", count)) })
	begun := time.Now()
	next, lost := 0, 0
	for next < count {
		e := <-fast.C() // the test's own time limit guards it: a timer for each is slow
		next, lost = next+e.Dropped, lost+e.Dropped
		if number(e) != next {
			require.Failf(t, "out of order", "event %d: %s", next, e.Data)
		}
		next++
	}
	took := time.Since(begun)
	grown := heap() - before
	close(stop)
	work.Wait()
	t.Logf("%v for %d events, %d commands answered meanwhile, %d KiB more in use", took, count, answered, grown>>10)
	require.Zero(t, lost, "events that a reading subscriber lost")
	require.Positive(t, answered)
	require.Less(t, grown, int64(8<<20))

	got := 0
	for next, lost = 0, 0; next < count; next, got = next+1, got+1 {
		e := soon(t, stalled.C())
		next, lost = next+e.Dropped, lost+e.Dropped
		require.Equal(t, next, number(e))
	}
	t.Logf("the stalled one got %d and was told of %d that it lost", got, lost)
	require.Positive(t, lost)
	require.Equal(t, count, got+lost)
}
