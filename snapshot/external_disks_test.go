package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// TestExternalEphemeral: a load ends the guest, and does not lose the disks that vanish with it
// otherwise; when the guest stops, their layers go with them, and those over the user's image stay.
func TestExternalEphemeral(t *testing.T) {
	l := newLayered(t, func(c *vm.Config) { c.Lifetime = vm.Ephemeral })
	l.halted()
	l.poke(1)
	require.NoError(t, l.create(soon(t), "base"))
	l.poke(2)
	require.NoError(t, l.snaps.Load(soon(t), "box", "base"))
	require.Equal(t, vm.Paused, l.get().State)
	l.peek(1)
	l.poke(3)
	require.NoError(t, l.snaps.Drop(soon(t), "box", "base"))
	l.peek(1)
	require.Empty(t, l.names("box"))
	require.NoError(t, l.create(soon(t), "last"))
	l.poke(4)

	l.off()
	layers := l.get().Layers
	require.Len(t, layers, 1)
	require.Equal(t, "own", layers[0].Disk)
	require.FileExists(t, layers[0].Path)
	require.Equal(t, 1, l.files(), "those of the disk that vanished are gone")
	l.halted()
	l.off()
	require.NoError(t, l.vms.Remove(soon(t), "box", vm.DeleteImages()))
	require.FileExists(t, layers[0].Path, "what was written over the user's image stays")
	require.NoError(t, l.images.Delete(soon(t), layers[0].Path), "until it is asked for")
}

func (l *layered) halted() {
	l.t.Helper()
	_, err := l.vms.Start(soon(l.t), "box", vm.StartPaused())
	require.NoError(l.t, err)
}

// TestExternalApply: a configuration can't take the image away below its layers.
func TestExternalApply(t *testing.T) {
	l := newLayered(t, nil)
	l.halted()
	require.NoError(t, l.create(soon(t), "one"))
	l.off()
	cfg := layeredConfig(l.raw)
	for name, change := range map[string]func(c *vm.Config){
		"left out": func(c *vm.Config) { c.Disks = c.Disks[:1] },
		"another path": func(c *vm.Config) {
			c.Disks[1].Path = filepath.Join(t.TempDir(), "other.raw")
		},
		"based": func(c *vm.Config) { c.Disks[0].Base = l.raw },
	} {
		t.Run(name, func(t *testing.T) {
			other := layeredConfig(l.raw)
			change(&other)
			_, err := l.vms.Apply(soon(t), other)
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			require.ErrorContains(t, err, "commit or drop the external snapshots first")
		})
	}
	cfg.Memory = 512 * vm.MiB
	_, err := l.vms.Apply(soon(t), cfg)
	require.NoError(t, err, "what has nothing to do with it can change")
	require.Len(t, l.get().Layers, 2)
}

// TestExternalAboveInternal: an internal snapshot that lies below an external one can't be
// loaded or deleted; one that lies in a layer keeps the layer.
func TestExternalAboveInternal(t *testing.T) {
	l := newLayered(t, func(c *vm.Config) { c.Disks[1].ReadOnly = true })
	l.halted()
	_, err := l.snaps.Create(soon(t), "box", "below")
	require.NoError(t, err)
	require.NoError(t, l.create(soon(t), "outer"))
	for _, err := range []error{l.snaps.Load(soon(t), "box", "below"), l.snaps.Delete(soon(t), "box", "below"), l.snaps.Stream(soon(t), "box", "outer")} {
		require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
	}
	require.ErrorContains(t, l.snaps.Load(soon(t), "box", "below"), "commit or drop outer first")
	_, err = l.snaps.Create(soon(t), "box", "inside")
	require.NoError(t, err)
	for _, err := range []error{l.snaps.Load(soon(t), "box", "outer"), l.snaps.Delete(soon(t), "box", "outer"), l.snaps.Drop(soon(t), "box", "outer")} {
		require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
		require.ErrorContains(t, err, "inside")
	}
	require.NoError(t, l.snaps.Delete(soon(t), "box", "inside"))
	require.NoError(t, l.snaps.Commit(soon(t), "box", "outer"))
	require.NoError(t, l.snaps.Load(soon(t), "box", "below"))
	l.off()
	l.checked()
}

// externalUnplugged plugs a disk, makes a snapshot, and takes it and a configured one out: no
// node of either is left.
func externalUnplugged(t *testing.T, l *layered) {
	plugs := qmp.NewManager(l.vms, qmp.WithRecorder(l.vms))
	path := filepath.Join(t.TempDir(), "plugged.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 8<<20))
	require.NoError(t, plugs.AddDevice(soon(t), "box", qmp.Device{ID: "late", Disk: &qmp.Disk{Path: path, Format: "raw", Interface: qmp.DiskUSB}}))
	l.made("plugged")
	l.made("again")
	require.Len(t, l.get().Layers, 3)
	l.sh("box", "umount /mnt")
	for _, id := range []string{"late", "own"} {
		require.NoError(t, plugs.RemoveDevice(soon(t), "box", id))
	}
	guest, err := l.vms.Live(soon(t), "box")
	require.NoError(t, err)
	nodes, err := qmp.Do[[]struct {
		Name string `json:"node-name"`
		File string `json:"file"`
	}](soon(t), guest.QMP(), "query-named-block-nodes", map[string]bool{"flat": true})
	require.NoError(t, err)
	for _, n := range nodes {
		require.NotContains(t, n.File, path)
		require.NotContains(t, n.Name, qmp.LayerNodes("late"))
		require.NotContains(t, n.Name, qmp.LayerNodes("own"))
	}
	require.ErrorIs(t, l.snaps.Load(soon(t), "box", "plugged"), errors.ErrSnapshotBlocked)
}
