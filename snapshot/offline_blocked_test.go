//go:build cgo

package snapshot_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// change gives the VM another configuration.
func (w *offline) change(t *testing.T, change func(*vm.Config)) {
	t.Helper()
	cfg := w.instance(t).Config
	cfg.Disks = append([]vm.Disk{}, cfg.Disks...)
	change(&cfg)
	_, err := w.vms.Apply(t.Context(), cfg)
	require.NoError(t, err)
}

// TestOfflineCreateBlocked: what stands in the way of a snapshot is named before anything is done;
// what the guest does not write neither takes part nor is in the way.
func TestOfflineCreateBlocked(t *testing.T) {
	w := newOffline(t)
	raw := filepath.Join(w.dir, "raw.img")
	require.NoError(t, os.WriteFile(raw, make([]byte, 1<<20), 0o600))
	add := func(d vm.Disk) {
		w.change(t, func(c *vm.Config) { c.Disks = append(c.Disks[:2], d) })
	}
	create := func(name string) error {
		_, err := w.Create(t.Context(), offlineVM, name)
		return err
	}
	add(vm.Disk{Name: "plain", Path: raw})
	requireBlocked(t, create("x"), "plain")
	add(vm.Disk{Name: "unborn", Size: vm.MiB})
	requireBlocked(t, create("x"), "unborn")
	w.requireClean(t)

	add(vm.Disk{Name: "plain", Path: raw, ReadOnly: true})
	require.NoError(t, create("read-only"))
	keep := false
	add(vm.Disk{Name: "passing", Size: vm.MiB, Keep: &keep})
	require.NoError(t, create("passing"))
	w.requireClean(t, "read-only", "passing")

	tool(t, "qemu-img", "snapshot", "-c", "foreign", w.disks[1])
	require.ErrorIs(t, create("foreign"), errors.ErrSnapshotExists)
	require.ErrorIs(t, create("passing"), errors.ErrSnapshotExists)

	w.change(t, func(c *vm.Config) { c.Disks = nil })
	requireBlocked(t, create("x"), "")
}

// TestOfflineLoadBlocked: what would make a load fail is found before any disk is touched.
func TestOfflineLoadBlocked(t *testing.T) {
	w := newSubject(t)
	load := func() error { return w.Load(t.Context(), offlineVM, "one") }
	before := w.instance(t).Config

	w.change(t, func(c *vm.Config) { c.Disks = c.Disks[:1] })
	requireBlocked(t, load(), "disk1")
	w.change(t, func(c *vm.Config) { c.Disks = append(before.Disks[:1:1], vm.Disk{Path: w.disks[1], ReadOnly: true}) })
	requireBlocked(t, load(), "disk1")
	w.change(t, func(c *vm.Config) { c.Disks = before.Disks })

	tool(t, "qemu-img", "bitmap", "--add", "-f", "qcow2", w.disks[1], "theirs")
	tool(t, "qemu-img", "bitmap", "--add", "-f", "qcow2", w.disks[0], "maqet-1")
	requireBlocked(t, load(), "disk1")
	require.Equal(t, 3, w.holds(t))
	tool(t, "qemu-img", "bitmap", "--remove", "-f", "qcow2", w.disks[1], "theirs")
	require.NoError(t, load(), "maqet's own bitmaps are no obstacle")
	bitmaps, err := w.storage.Bitmaps(t.Context(), w.disks[0])
	require.NoError(t, err)
	require.Empty(t, bitmaps)
	require.Equal(t, 1, w.holds(t))

	tool(t, "qemu-img", "snapshot", "-d", "two", w.disks[1])
	require.ErrorIs(t, w.Load(t.Context(), offlineVM, "two"), errors.ErrSnapshotNotFound)
	require.Equal(t, 1, w.holds(t))
	require.NoError(t, w.Delete(t.Context(), offlineVM, "two"), "what is left of it")
	w.requireClean(t, "one")
	require.ErrorIs(t, w.Load(t.Context(), offlineVM, "two"), errors.ErrSnapshotNotFound)
	require.ErrorIs(t, w.Delete(t.Context(), offlineVM, "two"), errors.ErrSnapshotNotFound)
}

// TestOfflineLayers: a disk that is written in an external layer is not what the snapshot is of.
func TestOfflineLayers(t *testing.T) {
	w := newSubject(t)
	layer := filepath.Join(w.dir, "images", "layer.qcow2")
	_, err := w.storage.Overlay(t.Context(), storage.OverlaySpec{Path: layer, Base: w.disks[0], BaseFormat: storage.FormatQcow2})
	require.NoError(t, err)
	stack := func(layers []vm.Layer) {
		r, err := w.vms.Reserve(t.Context(), offlineVM)
		require.NoError(t, err)
		require.NoError(t, r.Update(t.Context(), func(i *vm.Instance) { i.Layers = layers }))
		r.Release()
	}
	stack([]vm.Layer{{Disk: "disk0", Path: layer}})
	requireBlocked(t, w.Load(t.Context(), offlineVM, "one"), "disk0")
	w.create(t, "above")
	table, err := w.storage.Snapshots(t.Context(), layer)
	require.NoError(t, err)
	require.Len(t, table, 1)
	require.NoError(t, w.Delete(t.Context(), offlineVM, "above"))
	stack(nil)
	requireBlocked(t, w.Load(t.Context(), offlineVM, "one"), "disk0") // what stands on it would be worth nothing
	require.NoError(t, w.storage.Delete(t.Context(), layer))
	require.NoError(t, w.Load(t.Context(), offlineVM, "one"))
	require.Equal(t, 1, w.holds(t))
}

// TestOfflineInUse: an image that somebody uses blocks everything, and nothing is done to any disk.
func TestOfflineInUse(t *testing.T) {
	w := newSubject(t)
	user := exec.Command("qemu-io", "-f", "qcow2", w.disks[1])
	stdin, err := user.StdinPipe()
	require.NoError(t, err)
	stdout, err := user.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, user.Start())
	_, err = stdout.Read(make([]byte, 1)) // its prompt
	require.NoError(t, err)
	for op, o := range offlineOps {
		if op == "mend" {
			continue
		}
		err := o.do(t.Context(), w)
		if op == "create" { // where all that blocks is listed
			requireBlocked(t, err, "disk1")
		} else {
			require.ErrorIs(t, err, errors.ErrImageInUse, op)
		}
		require.ErrorContains(t, err, "qemu-io (PID ", op)
	}
	require.NoError(t, stdin.Close())
	require.NoError(t, user.Wait())
	require.Equal(t, 3, w.holds(t))
	w.requireClean(t, "one", "two")
}

// TestOfflineEncrypted: the key of a disk opens its image for snapshots, too.
func TestOfflineEncrypted(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(key, []byte("secret"), 0o600))
	w := newOffline(t, vm.Disk{Size: 16 * vm.MiB, KeyFile: key})
	require.NoError(t, os.Remove(w.disks[0]))
	_, err := w.storage.Create(t.Context(), storage.CreateSpec{Path: w.disks[0], Size: 1 << 20,
		Encryption: &storage.Encryption{Secret: storage.Secret{File: key}, Unlock: 10 * time.Millisecond}})
	require.NoError(t, err)
	w.create(t, "one")
	require.NoError(t, w.Load(t.Context(), offlineVM, "one"))
	require.NoError(t, w.Delete(t.Context(), offlineVM, "one"))
	table, err := w.storage.Snapshots(t.Context(), w.disks[0])
	require.NoError(t, err)
	require.Empty(t, table)
}
