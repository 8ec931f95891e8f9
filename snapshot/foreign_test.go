package snapshot_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// img runs qemu-img as somebody else would.
func img(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// shown returns a snapshot as it is listed.
func (h *house) shown(ref, name string) snapshot.Snapshot {
	h.t.Helper()
	list, err := h.snaps.List(soon(h.t), ref)
	require.NoError(h.t, err)
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	require.Fail(h.t, "not listed", "%s: %v", name, list)
	return snapshot.Snapshot{}
}

const (
	write = "echo %[1]s > /tmp/file; for d in vda vdb; do echo %[1]s | dd of=/dev/$d conv=fsync 2>/dev/null; done"
	read  = "for f in /tmp/file /dev/vda /dev/vdb; do head -n 1 $f; done | xargs echo"
)

// TestForeign: what others made in the images of a VM is listed, loaded and deleted as one of
// maqet's own, if it is whole; live and not.
func TestForeign(t *testing.T) {
	h := newHouse(t)
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "b.qcow2")
	for _, path := range []string{a, b} {
		img(t, "create", "-q", "-f", "qcow2", path, "16M")
	}
	cfg := vm.Config{Name: "box", Boot: vm.Boot{Kernel: "auto", Initrd: "auto"}, Disks: []vm.Disk{{Name: "a", Path: a}, {Name: "b", Path: b}}}
	h.boot(cfg)
	h.sh("box", fmt.Sprintf(write, "one"))
	conn, err := h.vms.QMP(t.Context(), "box")
	require.NoError(t, err)
	_, err = conn.Execute(soon(t), "human-monitor-command", map[string]any{"command-line": "savevm theirs"})
	require.NoError(t, err)
	s := h.shown("box", "theirs")
	require.Equal(t, snapshot.Foreign, s.Status)
	require.Equal(t, snapshot.Memory, s.Kind)
	require.Positive(t, s.VMClock)
	require.Greater(t, s.Size, int64(1<<20))
	require.WithinDuration(t, time.Now(), s.Created, 5*time.Minute)
	require.Equal(t, []snapshot.Disk{{Name: "a", Path: a, Present: true, ID: "1"}, {Name: "b", Path: b, Present: true, ID: "1"}}, s.Disks)
	_, err = h.snaps.Create(soon(t), "box", "theirs")
	require.ErrorIs(t, err, errors.ErrSnapshotExists)

	h.sh("box", fmt.Sprintf(write, "two"))
	require.NoError(t, h.snaps.Load(soon(t), "box", "theirs"))
	require.Equal(t, "one one one", h.sh("box", read))
	s = h.shown("box", "theirs")
	require.Equal(t, snapshot.OK, s.Status, "it is maqet's now")
	require.True(t, s.Current && s.Memory)

	_, err = h.vms.Stop(soon(t), "box", vm.Force())
	require.NoError(t, err)
	other := cfg
	other.Memory = 384 * vm.MiB
	_, err = h.vms.Apply(t.Context(), other)
	require.NoError(t, err)
	list, err := h.snaps.LoadBlockers(soon(t), "box", "theirs")
	require.NoError(t, err)
	require.Equal(t, []string{"memory"}, blockedDevices(t, list))
	require.ErrorIs(t, h.snaps.Load(soon(t), "box", "theirs"), errors.ErrSnapshotBlocked)
	list, err = h.snaps.LoadBlockers(soon(t), "box", "theirs", snapshot.ColdBoot())
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = h.vms.Apply(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, h.snaps.Load(soon(t), "box", "theirs"))
	_, err = h.vms.Apply(t.Context(), other) // after the load
	require.NoError(t, err)
	_, err = h.vms.Start(soon(t), "box")
	require.ErrorIs(t, err, errors.ErrSnapshotBlocked, "the start would continue on another machine")
	_, err = h.vms.Apply(t.Context(), cfg)
	require.NoError(t, err)
	h.start("box")
	require.Equal(t, "one one one", h.sh("box", read))

	h.sh("box", fmt.Sprintf(write, "three"))
	require.NoError(t, h.snaps.Delete(soon(t), "box", "theirs"))
	_, err = h.vms.Stop(soon(t), "box", vm.Force())
	require.NoError(t, err)
	img(t, "snapshot", "-c", "cold", a)
	require.ErrorIs(t, h.snaps.Load(soon(t), "box", "cold"), errors.ErrSnapshotBlocked, "disk b does not have it")
	require.ErrorIs(t, h.snaps.Delete(soon(t), "box", "cold"), errors.ErrSnapshotBlocked)
	img(t, "snapshot", "-c", "cold", b)
	require.NoError(t, h.snaps.Load(soon(t), "box", "cold"))
	require.Equal(t, snapshot.OK, h.shown("box", "cold").Status)
	h.start("box")
	require.Equal(t, "three three", h.sh("box", "for d in vda vdb; do head -n 1 /dev/$d; done | xargs echo"))
	require.NoError(t, h.snaps.Delete(soon(t), "box", "cold"))
	all, err := h.snaps.List(soon(t), "box")
	require.NoError(t, err)
	require.Empty(t, all)
}
