package qmp

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// QEMU is killed while 64 goroutines execute commands: each one's last command returns
// the typed error, and soon.
func TestQEMUKilledUnderLoad(t *testing.T) {
	const goroutines = 64
	cmd, c := startQEMU(t)
	failures := make([]error, goroutines)
	ends := make([]time.Time, goroutines)
	var started, work sync.WaitGroup
	started.Add(goroutines)
	for g := range goroutines {
		work.Go(func() {
			for first := true; failures[g] == nil; first = false {
				_, failures[g] = c.Execute(t.Context(), "qom-list-types", nil)
				if first {
					started.Done()
				}
			}
			ends[g] = time.Now()
		})
	}
	started.Wait()
	killed := time.Now()
	require.NoError(t, cmd.Process.Kill())
	work.Wait()
	var last time.Duration
	for g, err := range failures {
		require.ErrorIs(t, err, errors.ErrQMPConnection)
		require.NotErrorIs(t, err, errors.ErrQMPTimeout)
		require.ErrorIs(t, err, c.Err())
		last = max(last, ends[g].Sub(killed))
	}
	t.Logf("all %d commands had returned %v after the kill", goroutines, last)
	require.Less(t, last, time.Second)
}
