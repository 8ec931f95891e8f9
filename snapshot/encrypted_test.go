package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// TestEncryptedLive: what would leave an encrypted disk's data open, or end QEMU, is refused. A
// snapshot in the encrypted image, of which QEMU tells no path but JSON, is found and deleted.
func TestEncryptedLive(t *testing.T) {
	h := newHouse(t)
	key := filepath.Join(h.dir, "key")
	require.NoError(t, os.WriteFile(key, []byte("secret"), 0o600))
	inst, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 128 * vm.MiB, Lifetime: vm.Persistent,
		Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB, KeyFile: key, Throttle: vm.Throttle{IOPS: 100000}}}})
	require.NoError(t, err)
	_, err = h.images.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(h.dir, "images", inst.ID, "data.qcow2"), Size: 64 << 20,
		Encryption: &storage.Encryption{Secret: storage.Secret{File: key}, Unlock: 10 * time.Millisecond},
		For:        storage.For{Owner: inst.ID, Disk: "data"}})
	require.NoError(t, err)
	_, err = h.snaps.Create(soon(t), "box", "disks")
	require.NoError(t, err)

	h.start("box", vm.StartPaused())
	_, err = h.snaps.Create(soon(t), "box", "memory")
	requireBlocked(t, err, "data")
	_, err = h.snaps.Create(soon(t), "box", "layers", snapshot.DiskOnly())
	requireBlocked(t, err, "data")
	require.Equal(t, []string{"disks"}, h.names("box"))
	require.NoError(t, h.snaps.Load(soon(t), "box", "disks"))
	require.NoError(t, h.snaps.Delete(soon(t), "box", "disks"))
	require.Empty(t, h.names("box"))
}
