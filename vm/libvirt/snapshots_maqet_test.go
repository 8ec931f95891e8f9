//go:build linux

package libvirt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// snapVM adds a VM with a disk that is started paused, and never boots.
func snapVM(t *testing.T, m *maqet.Maqet, name string) *maqet.Machine {
	t.Helper()
	lifeStart(t, m, lifeAdd(t, m, vm.Config{Name: name, Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: 16 * vm.MiB}}}))
	box, err := m.Machine(t.Context(), name)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.VM.Remove(lifeLimit(t), name, vm.ForceRemove(), vm.DeleteImages()))
	})
	return box
}

func snapRecord(t *testing.T, box *maqet.Machine) vm.Instance {
	t.Helper()
	inst, err := box.Instance(t.Context())
	require.NoError(t, err)
	return inst
}

func TestSnapshotsOfPausedVM(t *testing.T) {
	d := libvirt.SharedDaemon().Get(t)
	box := snapVM(t, lifeOpen(t, d, t.TempDir()), "snapped")
	one, err := box.Snapshot(lifeLimit(t), "one", snapshot.Describe("first"))
	require.NoError(t, err)
	require.Equal(t, snapshot.Memory, one.Kind)
	require.Equal(t, snapshot.OK, one.Status)
	require.Equal(t, "disk0", one.Disks[0].Name)
	require.Contains(t, virsh(t, d, "snapshot-list", "snapped"), "one")
	virsh(t, d, "snapshot-create-as", "snapped", "theirs")

	list, err := box.Snapshots(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, snapshot.Foreign, list[1].Status)
	require.Equal(t, "one", list[1].Parent)

	t.Run("into a live VM", func(t *testing.T) {
		for _, name := range []string{"one", "theirs"} {
			require.NoError(t, box.Load(lifeLimit(t), name))
			inst := snapRecord(t, box)
			require.Equal(t, vm.Paused, inst.State)
			require.Equal(t, name, inst.Snapshot)
			require.Equal(t, name, virsh(t, d, "snapshot-current", "snapped", "--name"))
		}
	})
	t.Run("into a stopped VM", func(t *testing.T) {
		_, err := box.Stop(lifeLimit(t), vm.Force())
		require.NoError(t, err)
		require.NoError(t, box.Load(lifeLimit(t), "one"))
		require.Equal(t, "shut off", virsh(t, d, "domstate", "snapped"))
		require.Equal(t, "one", snapRecord(t, box).Restore)
		require.NoError(t, box.Start(lifeLimit(t), vm.StartPaused()))
		require.Empty(t, snapRecord(t, box).Restore)
	})
	t.Run("external", func(t *testing.T) {
		_, err := box.Snapshot(lifeLimit(t), "ext", snapshot.DiskOnly())
		require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
		require.NoError(t, box.DeleteSnapshot(lifeLimit(t), "theirs"))
		require.NoError(t, box.DeleteSnapshot(lifeLimit(t), "one"))
		_, err = box.Snapshot(lifeLimit(t), "ext", snapshot.DiskOnly())
		require.NoError(t, err)
		layers := snapRecord(t, box).Layers
		require.Len(t, layers, 1)
		require.Contains(t, layers[0].Path, "layer-")
		require.Contains(t, virsh(t, d, "domblklist", "snapped"), layers[0].Path)
		require.ErrorIs(t, box.Load(lifeLimit(t), "ext"), errors.ErrSnapshotBlocked)

		_, err = box.Stop(lifeLimit(t), vm.Force())
		require.NoError(t, err)
		require.NoError(t, box.Start(lifeLimit(t), vm.StartPaused()))
		require.Contains(t, virsh(t, d, "domblklist", "snapped"), layers[0].Path, "it goes on where it was")
		require.NoError(t, box.DeleteSnapshot(lifeLimit(t), "ext"))
		require.Empty(t, snapRecord(t, box).Layers)
		require.NotContains(t, virsh(t, d, "vol-list", "maqet"), "layer-")
		require.Empty(t, strings.TrimSpace(virsh(t, d, "snapshot-list", "snapped", "--name")))
	})
}

// What a guest holds comes back with a snapshot, and who works in it goes on, whoever made it.
func TestSnapshotsOfGuest(t *testing.T) {
	d := libvirt.SharedDaemon().Get(t)
	m := lifeOpen(t, d, t.TempDir())
	ctx := lifeLimit(t)
	box, err := m.Run(ctx, vm.Config{Name: "snapguest", Backend: libvirt.DefaultName, Lifetime: vm.Persistent, Memory: 128 * vm.MiB,
		Disks: []vm.Disk{{Size: 16 * vm.MiB}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, box.Remove(lifeLimit(t), vm.ForceRemove(), vm.DeleteImages())) })
	write := func(text string) {
		t.Helper()
		_, err := box.Exec(ctx, "sh", "-c", "echo "+text+" > /tmp/note; echo "+text+" > /dev/vda; sync")
		require.NoError(t, err)
	}
	requireHolds := func(text string) {
		t.Helper()
		out, err := box.Exec(ctx, "sh", "-c", "cat /tmp/note; head -n 1 /dev/vda")
		require.NoError(t, err)
		require.Equal(t, text+"\n"+text+"\n", string(out.Stdout))
	}
	write("one")
	_, err = box.Snapshot(ctx, "frozen", snapshot.DiskOnly(), snapshot.MustFreeze())
	require.NoError(t, err)
	requireHolds("one")
	require.NoError(t, box.DeleteSnapshot(ctx, "frozen"))
	_, err = box.Snapshot(ctx, "one")
	require.NoError(t, err)
	requireHolds("one")
	write("two")
	virsh(t, d, "snapshot-create-as", "snapguest", "theirs")
	write("three")
	for _, load := range []struct{ name, holds string }{{"one", "one"}, {"theirs", "two"}, {"one", "one"}} {
		require.NoError(t, box.Load(ctx, load.name))
		require.Equal(t, vm.Running, snapRecord(t, box).State)
		requireHolds(load.holds)
	}
	write("four")
	virsh(t, d, "snapshot-revert", "snapguest", "theirs")
	requireHolds("two")
	require.Equal(t, vm.Running, snapRecord(t, box).State)
	require.NoError(t, box.Load(ctx, "one", snapshot.ThenPause()))
	require.Equal(t, vm.Paused, snapRecord(t, box).State)
	require.NoError(t, box.Resume(ctx))
	requireHolds("one")
}
