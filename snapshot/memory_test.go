package snapshot_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

func TestMemory(t *testing.T) {
	h := newHouse(t)
	inst := h.boot(vm.Config{Name: "box", Memory: 256 * vm.MiB, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.Equal(t, "", h.sh("box", "echo one > /tmp/memory; printf one | dd of=/dev/vda conv=fsync 2>/dev/null"))
	s, err := h.snaps.Create(soon(t), "box", "first", snapshot.OnProgress(func(p snapshot.Progress) { t.Log(p) }))
	require.NoError(t, err)
	t.Logf("%+v", s)
	require.Equal(t, "one", h.sh("box", "cat /tmp/memory; dd if=/dev/vda bs=3 count=1 2>/dev/null | grep -q one"))
	h.sh("box", "echo two > /tmp/memory; printf two | dd of=/dev/vda conv=fsync 2>/dev/null")
	require.NoError(t, h.snaps.Load(soon(t), "box", "first"))
	require.Equal(t, "one", h.sh("box", "cat /tmp/memory; dd if=/dev/vda bs=3 count=1 2>/dev/null | grep -q one"))
	require.NoError(t, h.snaps.Delete(soon(t), "box", "first"))
	list, err := h.snaps.List(soon(t), "box")
	require.NoError(t, err)
	require.Empty(t, list)
	_ = inst
}
