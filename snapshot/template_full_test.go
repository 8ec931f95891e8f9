package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// TestForkFull: a fork that has no room for its disks fails and leaves nothing; one whose room
// is used up while it runs stands still, or its guest is told, and it can be removed.
func TestForkFull(t *testing.T) {
	h := newHouse(t)
	images := filepath.Join(h.dir, "images")
	require.NoError(t, os.MkdirAll(images, 0o700))
	testhost.Needs(t, "mounting a small tmpfs", unix.Mount("tmpfs", images, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=8m,mode=0700"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(images, unix.MNT_DETACH)) })
	h.boot(templateGuest())
	h.capture("base", "one")
	before := h.files()

	filler := filepath.Join(h.dir, "images", "filler")
	room := func(left int64) {
		require.NoError(t, os.RemoveAll(filler))
		var fs unix.Statfs_t
		require.NoError(t, unix.Statfs(images, &fs))
		f, err := os.OpenFile(filler, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		require.NoError(t, err)
		require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*fs.Bsize-left))
		require.NoError(t, f.Close())
	}
	for _, left := range []int64{0, 4 << 10} {
		room(left)
		_, err := h.snaps.Fork(soon(t), "one")
		require.ErrorIs(t, err, errors.ErrStorage, "%d bytes", left)
		require.ErrorIs(t, err, unix.ENOSPC, "%d bytes", left)
		require.NoError(t, os.RemoveAll(filler))
		require.Equal(t, []string{"base"}, h.vmNames())
		require.Equal(t, before, h.files())
		require.Empty(t, processesOf(t, h.dir))
	}

	f := h.fork("one")
	room(1 << 20)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	wrote := make(chan error, 1)
	go func() {
		_, err := h.guests.Exec(ctx, f.ID, guest.Command{Args: []string{"dd", "if=/dev/urandom", "of=/dev/vda", "bs=1M", "count=4", "conv=fsync"}})
		cancel()
		wrote <- err
	}()
	inst, waitErr := h.vms.Wait(ctx, f.ID, vm.Paused) // QEMU stops a guest whose disk is full
	cancel()
	require.Error(t, <-wrote, "there was no room")
	t.Logf("the fork is %s (%s), %v", inst.State, inst.Reason, waitErr)
	require.NoError(t, h.vms.Remove(soon(t), f.ID, vm.ForceRemove()))
	require.NoError(t, os.RemoveAll(filler))
	require.Equal(t, before, h.files())
	require.NoError(t, h.vms.Remove(soon(t), h.fork("one").ID, vm.ForceRemove()), "the template is as it was")
}
