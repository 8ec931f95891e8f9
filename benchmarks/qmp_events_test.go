package benchmarks

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qmptest"
)

// fakeClient returns a fake QEMU and a client of it.
func fakeClient(b *testing.B, opts ...qmp.ClientOption) (*qmptest.Server, *qmp.Client) {
	b.Helper()
	server := qmptest.NewServer()
	b.Cleanup(server.Close)
	return server, dialClient(b, server.Addr, opts...)
}

// BenchmarkQMPEvents sends 100,000 events to a client that has a subscriber who never
// reads and two who do, ten each millisecond, while commands are executed on it and on a
// quiet connection in turns. ratio compares the medians of their round trips.
func BenchmarkQMPEvents(b *testing.B) {
	const events, burst = 100_000, 10
	server, noisy := fakeClient(b)
	_, quiet := fakeClient(b)
	noisy.Subscribe()
	var readers sync.WaitGroup
	received := make([]int, 2)
	for i := range received {
		sub := noisy.Subscribe()
		readers.Go(func() {
			for e := range sub.C() {
				received[i]++
				if e.Dropped > 0 {
					b.Errorf("a subscriber that reads has lost %d events", e.Dropped)
				}
				if received[i] == events {
					return
				}
			}
		})
	}
	sent := make(chan struct{})
	ctx, stop := context.WithTimeout(b.Context(), 5*time.Minute)
	defer stop()
	data := map[string]any{"device": "drive0", "operation": "write", "action": "report"}
	go func() {
		defer close(sent)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range events / burst {
			<-tick.C
			for range burst {
				server.Emit("BLOCK_IO_ERROR", data)
			}
		}
	}()
	took := map[*qmp.Client][]time.Duration{}
	for flowing := true; flowing; {
		for _, c := range []*qmp.Client{noisy, quiet} {
			begun := time.Now()
			_, err := c.Execute(ctx, "query-status", nil)
			require.NoError(b, err)
			took[c] = append(took[c], time.Since(begun))
		}
		select {
		case <-sent:
			flowing = false
		default:
		}
	}
	readers.Wait()
	require.Equal(b, []int{events, events}, received)
	b.ReportMetric(ms(median(took[noisy]))*1000, "noisy-us")
	b.ReportMetric(ms(median(took[quiet]))*1000, "quiet-us")
	b.ReportMetric(ms(median(took[noisy]))/ms(median(took[quiet])), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkQMPFlood has 100,000 events sent as fast as the fake can, to one subscriber who
// never reads and one who does, which must lose none. heap-KiB is how much more the heap
// holds at the end, the queue of who never read included.
func BenchmarkQMPFlood(b *testing.B) {
	const events = 100_000
	server, client := fakeClient(b)
	client.Subscribe()
	sub := client.Subscribe("BLOCK_IO_ERROR")
	lost, done := 0, make(chan int)
	go func() {
		n := 0
		for e := range sub.C() {
			lost += e.Dropped
			if n++; n+lost == events {
				break
			}
		}
		done <- n
	}()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	server.OnCommand("query-name", qmptest.Flood("BLOCK_IO_ERROR", events))
	begun := time.Now()
	_, err := client.Execute(b.Context(), "query-name", nil)
	require.NoError(b, err)
	n := <-done
	took := time.Since(begun)
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1024, "heap-KiB")
	b.ReportMetric(float64(events)/took.Seconds(), "events/s")
	b.ReportMetric(float64(lost), "lost")
	b.ReportMetric(0, "ns/op")
	require.Equal(b, events, n)
}
