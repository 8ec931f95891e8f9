package maqettest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestEventually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		tries, err := eventually(t.Context(), func() error {
			if time.Since(begun) < 10*time.Second {
				return errors.New("not yet")
			}
			return nil
		})
		require.NoError(t, err)
		require.InDelta(t, 30, tries, 5)
		require.Less(t, time.Since(begun), 10*time.Second+lastPause)
	})
}

// TestEventuallyEnds: the last error is returned, that of a try after the end.
func TestEventuallyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		after := errors.New("after the end")
		_, err := eventually(ctx, func() error {
			if ctx.Err() != nil {
				return after
			}
			return errors.New("before")
		})
		require.ErrorIs(t, err, after)
		require.Equal(t, time.Second, time.Since(begun), "at once")
	})
}

func TestEventuallyOfWhatHolds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tries, err := eventually(ctx, func() error { return nil })
	require.NoError(t, err)
	require.Equal(t, 1, tries)
}
