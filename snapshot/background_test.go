package snapshot

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOutlive: what must come to an end goes on for a while when its caller gives up, and for as
// long as it takes otherwise.
func TestOutlive(t *testing.T) {
	k := &Keeper{undoLimit: 20 * time.Millisecond}
	ctx, giveUp := context.WithCancel(t.Context())
	longer, cancel := k.outlive(ctx)
	defer cancel()
	select {
	case <-longer.Done():
		t.Fatal("ends though nobody gave up")
	case <-time.After(10 * k.undoLimit):
	}
	giveUp()
	require.NoError(t, longer.Err(), "ends at once")
	select {
	case <-longer.Done():
		require.ErrorIs(t, context.Cause(longer), context.DeadlineExceeded)
	case <-time.After(time.Minute):
		t.Fatal("does not end")
	}

	longer, cancel = k.outlive(ctx)
	cancel()
	require.ErrorIs(t, context.Cause(longer), context.Canceled)
}
