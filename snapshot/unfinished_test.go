package snapshot_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
)

// TestCommitUnfinished: while a commit that was interrupted can't be finished nobody goes back to
// what it has begun to overwrite, and nothing that was written since is given up.
func TestCommitUnfinished(t *testing.T) {
	l := newLayered(t, nil)
	l.subject(true)
	require.NoError(t, l.create(soon(t), "later", snapshot.NoFreeze()))
	l.poke(3)
	l.off()
	ctx, cancel := context.WithCancel(soon(t))
	l.onStep(func(_ context.Context, step string) {
		if step == "commit made" {
			cancel()
			runtime.Goexit()
		}
	})
	require.ErrorIs(t, l.snaps.Commit(ctx, "box", "base"), context.Canceled)
	l.onStep(nil)
	l.settle("box")

	t.Run("while an image is in use", func(t *testing.T) {
		use(t, l.vms.Images(l.get())[0].Path)
		for _, name := range []string{"base", "later"} {
			requireBlocked(t, l.snaps.Load(soon(t), "box", name), "made", "own")
			requireBlocked(t, l.snaps.Drop(soon(t), "box", name), "made", "own")
		}
		requireBlocked(t, l.snaps.Stream(soon(t), "box", "base"), "made", "own")
		require.Error(t, l.snaps.Delete(soon(t), "box", "base"))
	})
	l.peek(3)
	require.NoError(t, l.snaps.Mend(soon(t), "box"))
	l.list()
	l.peek(3)
	l.checked()
	require.Zero(t, l.files())
}
