package process

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// TestThread: everything runs on one thread, which is not any caller's; after stop
// nothing runs.
func TestThread(t *testing.T) {
	var th thread
	var mu sync.Mutex
	seen := map[int]int{}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			err := th.run(func() error {
				mu.Lock()
				defer mu.Unlock()
				seen[unix.Gettid()]++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 1)
	boom := errors.New("boom")
	require.Equal(t, boom, th.run(func() error { return boom }))
	th.stop()
	th.stop()
	require.Equal(t, errClosed, th.run(func() error { return errors.New("it ran") }))

	var unused thread
	unused.stop()
	require.Equal(t, errClosed, unused.run(func() error { return nil }))
}
