package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// TestColdBootOfLiveVM: only the disks of a snapshot with memory are loaded into a live VM when
// that is asked for, also where its memory would not fit any more.
func TestColdBootOfLiveVM(t *testing.T) {
	h := newHouse(t)
	cfg := vm.Config{Name: "box", Memory: 128 * vm.MiB, Lifetime: vm.Persistent, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}}
	_, err := h.vms.Add(t.Context(), cfg)
	require.NoError(t, err)
	h.start("box", vm.StartPaused())
	h.fill("1")
	_, err = h.snaps.Create(soon(t), "box", "old")
	require.NoError(t, err)
	_, err = h.vms.Stop(soon(t), "box", vm.Force())
	require.NoError(t, err)
	cfg.Memory = 160 * vm.MiB
	_, err = h.vms.Apply(soon(t), cfg)
	require.NoError(t, err)
	h.start("box", vm.StartPaused())
	h.fill("2")
	require.ErrorIs(t, h.snaps.Load(soon(t), "box", "old"), errors.ErrSnapshotBlocked)
	blockers, err := h.snaps.LoadBlockers(soon(t), "box", "old", snapshot.ColdBoot())
	require.NoError(t, err)
	require.Empty(t, blockers)
	before := h.conn("box")
	require.NoError(t, h.snaps.Load(soon(t), "box", "old", snapshot.ColdBoot()))
	require.NotEqual(t, before, h.conn("box"), "another QEMU")
	h.requireState("box", vm.Paused)
	require.True(t, h.filled("1"))
}

// TestMemoryImageUnfinished: the image that holds the memory of a VM without disks is made anew
// if its maker died before it was whole, or if somebody has deleted it.
func TestMemoryImageUnfinished(t *testing.T) {
	h := newHouse(t)
	inst, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 128 * vm.MiB})
	require.NoError(t, err)
	h.start("box", vm.StartPaused())
	path := filepath.Join(h.dir, "images", inst.ID, "maqet-vmstate.qcow2")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, h.store.PutFile(t.Context(), storage.File{Path: path, Owner: inst.ID, Disk: "maqet-vmstate", Kind: storage.KindMemory,
		Format: storage.FormatQcow2, Unfinished: true}))
	_, err = h.snaps.Create(soon(t), "box", "one")
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, h.names("box"))
}
