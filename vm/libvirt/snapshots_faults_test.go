//go:build linux

package libvirt_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// A snapshot during which libvirtd dies is gone, or whole, after the next operation.
func TestLibvirtdDiesInASnapshot(t *testing.T) {
	d := libvirttest.Start(t) // others don't want it to be killed
	box := snapVM(t, lifeOpenShort(t, d, t.TempDir()), "snapfault")
	qemu := d.Process(t, "snapfault")
	require.NoError(t, qemu.Signal(unix.SIGSTOP)) // libvirt waits for it
	t.Cleanup(func() { _ = qemu.Signal(unix.SIGCONT) })
	failed := make(chan error, 1)
	go func() {
		_, err := box.Snapshot(lifeLimit(t), "half")
		failed <- err
	}()
	for virsh(t, d, "domcontrol", "snapfault") == "ok" { // until it is at work
		require.NoError(t, lifeLimit(t).Err())
		time.Sleep(10 * time.Millisecond)
	}
	d.Kill(t)
	require.ErrorIs(t, <-failed, errors.ErrHostUnreachable)
	require.NoError(t, qemu.Signal(unix.SIGCONT))
	d.Restart(t)

	_, err := box.Snapshot(lifeLimit(t), "whole")
	require.NoError(t, err)
	list, err := box.Snapshots(lifeLimit(t))
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "whole", list[0].Name)
	require.Equal(t, snapshot.OK, list[0].Status)
	require.Equal(t, vm.Paused, snapRecord(t, box).State)
	require.NotContains(t, virsh(t, d, "qemu-monitor-command", "snapfault", "--hmp", "info snapshots"), "half")
}
