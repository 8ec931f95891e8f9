package snapshot_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestExternal goes through the life of external snapshots of one guest.
func TestExternal(t *testing.T) {
	l := newLayered(t, nil)
	l.up()
	l.write("zero")
	t.Run("frozen", func(t *testing.T) { externalFrozen(t, l) })
	l.write("a")
	l.made("two")
	l.write("b")
	l.list("one", "two")
	require.Equal(t, 4, l.files())
	require.Equal(t, l.get().Layers[0].Path, l.get().Runtime.Disks[0].Path)
	t.Run("delete the first", func(t *testing.T) {
		require.NoError(t, l.snaps.Delete(soon(t), "box", "one"))
		l.reads("b")
		l.list("two")
		require.Equal(t, 2, l.files())
		l.write("c")
	})
	t.Run("restart", func(t *testing.T) {
		l.down()
		l.up()
		l.reads("c")
	})
	t.Run("load", func(t *testing.T) {
		require.NoError(t, l.snaps.Load(soon(t), "box", "two"))
		require.Equal(t, vm.Running, l.get().State)
		l.reads("a")
		l.write("d")
	})
	t.Run("commit", func(t *testing.T) {
		l.made("three")
		l.write("e")
		require.NoError(t, l.snaps.Commit(soon(t), "box", "two"))
		l.list()
		require.Empty(t, l.get().Layers)
		require.Zero(t, l.files())
		require.Equal(t, vm.Running, l.get().State)
		l.reads("e")
		l.write("f")
	})
	t.Run("stream", func(t *testing.T) {
		l.made("four")
		before, err := os.ReadFile(l.raw)
		require.NoError(t, err)
		l.write("g")
		require.NoError(t, l.snaps.Stream(soon(t), "box", "four"))
		l.reads("g")
		l.list()
		after, err := os.ReadFile(l.raw)
		require.NoError(t, err)
		require.Equal(t, before, after, "the user's image stays as it was")
		require.NoFileExists(t, filepath.Join(l.dir, "images", l.id, "made.qcow2"))
	})
	t.Run("drop", func(t *testing.T) {
		before := l.get().Layers
		l.made("five")
		l.write("h")
		require.NoError(t, l.snaps.Drop(soon(t), "box", "five"))
		l.reads("g")
		l.list()
		require.ElementsMatch(t, before, l.get().Layers)
		require.Equal(t, 2, l.files())
	})
	t.Run("unplug", func(t *testing.T) { externalUnplugged(t, l) })
	l.down()
}

// externalFrozen makes a snapshot while a program in the guest wants to write.
func externalFrozen(t *testing.T, l *layered) {
	status := func() (status string) {
		raw, err := l.guests.Agent(soon(t), "box", "guest-fsfreeze-status", nil)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &status))
		return status
	}
	var steps []string
	l.onStep(func(_ context.Context, step string) {
		steps = append(steps, step)
		if step == "switch" {
			require.Equal(t, "frozen", status())
			require.Equal(t, "waits", l.sh("box", "(echo x > /mnt/late; echo > /tmp/written) > /dev/null 2>&1 & sleep 1; test -e /tmp/written || echo waits"))
		}
	})
	require.NoError(t, l.create(soon(t), "one", snapshot.MustFreeze()))
	l.onStep(nil)
	require.Contains(t, steps, "switch")
	require.Equal(t, "thawed", status())
	l.sh("box", "until test -e /tmp/written; do sleep 0.05; done")
	require.Len(t, l.get().Layers, 2)
}
