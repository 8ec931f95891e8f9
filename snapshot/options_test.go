//go:build cgo

package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestOptionsUnheeded: options that can't be heeded together, or not in the VM's state, make a
// call fail before anything is done.
func TestOptionsUnheeded(t *testing.T) {
	w := newOffline(t)
	w.create(t, "one")
	for name, opts := range map[string][]snapshot.Option{
		"both states":      {snapshot.ThenRun(), snapshot.ThenPause()},
		"both freezings":   {snapshot.DiskOnly(), snapshot.MustFreeze(), snapshot.NoFreeze()},
		"freezing memory":  {snapshot.MustFreeze()},
		"nothing can run":  {snapshot.ThenRun()},
		"nothing to pause": {snapshot.ThenPause()},
		"of Load":          {snapshot.ColdBoot()},
	} {
		_, err := w.Create(t.Context(), offlineVM, "two", opts...)
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration, name)
	}
	require.ErrorIs(t, w.Load(t.Context(), offlineVM, "one", snapshot.ThenRun(), snapshot.ThenPause()), errors.ErrInvalidConfiguration)
	list, err := w.List(t.Context(), offlineVM)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestUnknownSnapshot: whoever asks for a snapshot that is not there is told which are.
func TestUnknownSnapshot(t *testing.T) {
	w := newOffline(t)
	err := w.Load(t.Context(), offlineVM, "tow")
	require.ErrorIs(t, err, errors.ErrSnapshotNotFound)
	require.ErrorContains(t, err, "(it has none)")
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "one", "two"} {
		w.create(t, name)
	}
	for _, try := range []func() error{
		func() error { return w.Load(t.Context(), offlineVM, "tow") },
		func() error { return w.Delete(t.Context(), offlineVM, "tow") },
		func() error { return w.Commit(t.Context(), offlineVM, "tow") },
	} {
		err := try()
		require.ErrorIs(t, err, errors.ErrSnapshotNotFound)
		require.ErrorContains(t, err, `(it has "two", "one", "j", "i", "h", "g", "f", "e", "d", "c", 2 more)`)
	}
}

// TestEncryptedIsBlocked: nothing of an encrypted disk gets to where it would lie open, and QEMU,
// which can't write memory into an encrypted image, survives to be asked.
func TestEncryptedIsBlocked(t *testing.T) {
	h := newHouse(t)
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte("secret"), 0o600))
	h.boot(sealed(key))
	for _, opts := range [][]snapshot.Option{nil, {snapshot.DiskOnly()}} {
		list, err := h.snaps.Blockers(soon(t), "box", opts...)
		require.NoError(t, err)
		require.Equal(t, []string{"sealed"}, blockedDevices(t, list))
		_, err = h.snaps.Create(soon(t), "box", "one", opts...)
		require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
		require.ErrorContains(t, err, "sealed is encrypted")
	}
	folder := filepath.Join(t.TempDir(), "backups")
	for range 2 {
		_, err := h.snaps.Backup(soon(t), "box", folder)
		require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
		require.ErrorContains(t, err, "sealed is encrypted")
		if get(t, h, "box").State.Live() {
			_, err = h.vms.Stop(soon(t), "box")
			require.NoError(t, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.qcow2"))
	require.NoError(t, err)
	require.Empty(t, files)
	_, err = h.snaps.Create(soon(t), "box", "one")
	require.NoError(t, err)
	require.NoError(t, h.snaps.Load(soon(t), "box", "one"))
}

func sealed(key string) vm.Config {
	return vm.Config{Name: "box", Lifetime: vm.Persistent, Boot: vm.Boot{Kernel: "auto"},
		Disks: []vm.Disk{{Name: "plain", Size: 8 * vm.MiB}, {Name: "sealed", Size: 8 * vm.MiB, KeyFile: key}}}
}
