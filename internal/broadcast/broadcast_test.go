package broadcast_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/internal/broadcast"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func requireValue(t *testing.T, c <-chan struct{}, want bool) {
	t.Helper()
	select {
	case _, ok := <-c:
		require.Equal(t, want, ok)
	case <-time.After(10 * time.Second):
		t.Fatal("neither a value nor the end")
	}
}

func TestNotifyReachesEveryListenerOnce(t *testing.T) {
	var h broadcast.Hub
	h.Notify() // nobody listens
	a, b := h.Listen(t.Context()), h.Listen(t.Context())
	h.Notify()
	h.Notify()
	requireValue(t, a, true)
	requireValue(t, b, true)
	require.Empty(t, a, "two notifications come as one value")
	h.Close()
}

func TestEndOfContextClosesOneListener(t *testing.T) {
	var h broadcast.Hub
	ctx, cancel := context.WithCancel(t.Context())
	a, b := h.Listen(ctx), h.Listen(t.Context())
	cancel()
	requireValue(t, a, false)
	h.Notify()
	requireValue(t, b, true)
	h.Close()
}

func TestClose(t *testing.T) {
	var h broadcast.Hub
	ctx, cancel := context.WithCancel(t.Context())
	a := h.Listen(ctx)
	h.Close()
	h.Close()
	cancel()
	requireValue(t, a, false)
	requireValue(t, h.Listen(t.Context()), false)
	h.Notify()
}

func TestConcurrent(t *testing.T) {
	var h broadcast.Hub
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				ctx, cancel := context.WithCancel(context.Background())
				c := h.Listen(ctx)
				go h.Notify()
				cancel()
				for range c {
				}
			}
		})
	}
	wg.Wait()
	h.Close()
}
