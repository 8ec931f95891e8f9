package maqettest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEndPassed: a test ends as passed wherever it is in the tree of tests, with its cleanups
// and deferred calls.
func TestEndPassed(t *testing.T) {
	mark, mu := finishedMark(t)
	require.NotNil(t, mark, "this Go's testing.T has no mark that a test has finished: InGuest reports passes as skips")
	require.NotNil(t, mu)
	for _, parallel := range []bool{false, true} {
		var deferred, skipped, failed bool
		t.Run("group", func(t *testing.T) {
			t.Run("sub", func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				t.Cleanup(func() { skipped, failed = t.Skipped(), t.Failed() })
				defer func() { deferred = true }()
				func() { endPassed(t) }()
				t.Error("the test went on")
			})
		})
		require.True(t, deferred)
		require.False(t, skipped)
		require.False(t, failed)
	}
	t.Run("with subtests", func(t *testing.T) {
		ran := make(chan struct{})
		t.Run("late", func(t *testing.T) {
			t.Parallel()
			close(ran)
		})
		t.Cleanup(func() { <-ran })
		endPassed(t)
	})
}

// TestFinishedMarkOfAnotherGo: a testing.T that is made otherwise is left alone.
func TestFinishedMarkOfAnotherGo(t *testing.T) {
	for name, other := range map[string]any{
		"no struct": new(int),
		"no mark":   &struct{ mu sync.RWMutex }{},
		"no lock":   &struct{ finished bool }{},
		"another mark": &struct {
			mu       sync.RWMutex
			finished int
		}{},
		"another lock": &struct {
			mu       sync.Mutex
			finished bool
		}{},
	} {
		mark, mu := finishedMark(other)
		require.Nil(t, mark, name)
		require.Nil(t, mu, name)
	}
	r := record(t, func(r *recorder) {
		endMarked(r, nil, nil)
		t.Error("the test went on")
	})
	require.True(t, r.skipped)
	require.Contains(t, r.log.String(), "passed in the guest")
}
