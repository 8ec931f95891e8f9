package qmp

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestEventIsDecoded(t *testing.T) {
	c, server := connected(t)
	sub := c.Subscribe("SHUTDOWN", "STOP")
	other := c.Subscribe("RESUME")
	server.send(resumeEvent, stopEvent,
		`{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}`)

	e := soon(t, sub.C())
	require.Equal(t, "STOP", e.Name)
	require.Nil(t, e.Data)
	require.Equal(t, time.Unix(1700000000, 500000000), e.Time)
	require.NoError(t, e.Decode(nil))

	e = soon(t, sub.C())
	var data struct {
		Guest  bool
		Reason string
	}
	require.NoError(t, e.Decode(&data))
	require.True(t, data.Guest)
	require.Equal(t, "guest-shutdown", data.Reason)
	require.WithinDuration(t, time.Now(), e.Time, time.Minute, "QEMU had no clock")
	require.Zero(t, e.Dropped)

	require.Equal(t, "RESUME", soon(t, other.C()).Name)
	other.Close()
	other.Close()
	require.Empty(t, closed(t, other.C()))
}

// numbered returns the n-th of a series of events.
func numbered(n int) Event { return Event{Name: fmt.Sprint(n)} }

// A subscriber that does not read keeps the first events it was handed and the last
// ones that came, in order, and learns how many went in between.
func TestOverflowDropsTheOldest(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 4, 7, 256} {
		for _, count := range []int{0, 1, size, size + 1, size + 2, 3*size + 5} {
			h := newHub(size)
			sub := h.subscribe(nil)
			for n := range count {
				h.publish(numbered(n))
			}
			h.end()
			next, dropped, got := 0, 0, closed(t, sub.C())
			for _, e := range got {
				next += e.Dropped
				dropped += e.Dropped
				require.Equal(t, fmt.Sprint(next), e.Name, "size %d, %d events", size, count)
				next++
			}
			require.Equal(t, count, len(got)+dropped)
			if count > 0 {
				require.Equal(t, fmt.Sprint(count-1), got[len(got)-1].Name, "the newest is never dropped")
			}
			require.GreaterOrEqual(t, len(got), min(count, size))
			require.LessOrEqual(t, len(got), max(size, 2)+1) // and the one that is being handed over
		}
	}
}

func TestSlowReaderLosesNothingWithinItsQueue(t *testing.T) {
	h := newHub(64)
	sub := h.subscribe(nil)
	const count = 10_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range count {
			if n%50 == 0 {
				time.Sleep(time.Microsecond)
			}
			h.publish(numbered(n))
		}
		h.end()
	})
	next := 0
	for e := range sub.C() {
		next += e.Dropped
		require.Equal(t, fmt.Sprint(next), e.Name)
		next++
	}
	require.Equal(t, count, next)
	wg.Wait()
}

func TestCloseOfAStalledSubscriptionKeepsWhatWasHandedOver(t *testing.T) {
	h := newHub(8)
	sub := h.subscribe(nil)
	for n := range 100 {
		h.publish(numbered(n))
	}
	h.close()
	got := closed(t, sub.C())
	require.GreaterOrEqual(t, len(got), 4)
	require.Equal(t, "0", got[0].Name)
	h.publish(numbered(1)) // to nobody
}

func TestSubscriptionsEndWithTheConnection(t *testing.T) {
	c, server := connected(t)
	sub := c.Subscribe()
	server.send(stopEvent, `{"event": "SHUTDOWN"}`)
	require.NoError(t, server.conn.Close())
	closed(t, c.Done())
	got := closed(t, sub.C())
	require.Len(t, got, 2, "what came before the end is delivered")
	require.Equal(t, "SHUTDOWN", got[1].Name)
	require.Empty(t, closed(t, c.Subscribe().C()), "a subscription after the end")
}

func TestReconnect(t *testing.T) {
	c, server := connected(t)
	old := c.Subscribe()
	require.NoError(t, server.conn.Close())
	closed(t, c.Done())
	require.ErrorIs(t, c.Err(), errors.ErrQMPConnection)

	server = reconnected(t, c)
	require.NoError(t, c.Err())
	select {
	case <-c.Done():
		require.Fail(t, "Done is closed although the connection works")
	default:
	}
	require.Empty(t, closed(t, old.C()))
	sub := c.Subscribe()
	server.send(stopEvent)
	require.Equal(t, "STOP", soon(t, sub.C()).Name)
}

func TestReconnectReportsTheGap(t *testing.T) {
	c := NewClient(KeepSubscriptions())
	defer c.Close()
	early := c.Subscribe("STOP")
	server := reconnected(t, c)
	server.send(resumeEvent, stopEvent)
	require.Equal(t, "STOP", soon(t, early.C()).Name, "the first connection is no gap")
	require.NoError(t, server.conn.Close())
	closed(t, c.Done())

	late := c.Subscribe("RESUME") // while there is no connection
	server = reconnected(t, c)
	server.send(resumeEvent, stopEvent)
	require.Equal(t, EventGap, soon(t, early.C()).Name)
	require.Equal(t, "STOP", soon(t, early.C()).Name)
	require.Equal(t, EventGap, soon(t, late.C()).Name)
	require.Equal(t, "RESUME", soon(t, late.C()).Name)
	require.NoError(t, c.Close())
	require.Empty(t, closed(t, early.C()))
}
