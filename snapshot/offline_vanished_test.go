//go:build cgo

package snapshot_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestLoadOfVanishedDisks: a guest that ended while a snapshot was loaded into it took the images
// of its passing disks along. That keeps nobody from starting the VM.
func TestLoadOfVanishedDisks(t *testing.T) {
	w := newOffline(t, vm.Disk{Size: 16 * vm.MiB}, vm.Disk{Size: 16 * vm.MiB, Keep: new(bool)})
	undo, err := json.Marshal(map[string]any{"ran": true, "job": "maqet-load-x"})
	require.NoError(t, err)
	loading := func(disks ...string) {
		rec := snapshot.Record{VM: w.vm.ID, Name: "new", ID: "1", Kind: snapshot.Memory, Pending: snapshot.Loading, Undo: undo, Vmstate: disks[0]}
		for _, d := range disks {
			rec.Disks = append(rec.Disks, snapshot.RecordDisk{Name: d, Path: w.disks[d[4]-'0'], Format: "qcow2"})
		}
		require.NoError(t, w.store.PutSnapshot(t.Context(), rec))
	}
	w.write(t, 3)
	saveMemory(t, "new", w.disks...)
	w.write(t, 4)
	require.NoError(t, os.Remove(w.disks[1]))

	loading("disk0", "disk1")
	require.NoError(t, mendOffline(t.Context(), w))
	require.Empty(t, tool(t, "qemu-io", "-f", "qcow2", "-r", "-c", "read -q -P 3 0 64k", w.disks[0]), "the disk that is there is loaded")
	require.Equal(t, "new", w.instance(t).Snapshot)

	loading("disk1")
	require.NoError(t, mendOffline(t.Context(), w))
	list, err := w.List(t.Context(), offlineVM)
	require.NoError(t, err)
	require.Equal(t, snapshot.Missing, list[0].Status)
	require.Empty(t, list[0].Pending)
}
