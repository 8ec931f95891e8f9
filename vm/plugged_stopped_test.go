package vm_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// scratch is a plugged disk whose image is at path.
func scratch(path string) qmp.Device {
	return qmp.Device{ID: "scratch", Driver: "virtio-blk-pci", Bus: "hotplug0", Disk: &qmp.Disk{Path: path, Format: "raw"}}
}

// TestPluggedImageIsMissing: the start says which, and how to go on; both ways work.
func TestPluggedImageIsMissing(t *testing.T) {
	const path = "/images/scratch.raw"
	b := newBench(t)
	inst := b.start(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
	require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, qmp.Device{ID: "rng", Driver: "x"}))
	require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, scratch(path)))
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	first := b.backend.guest(inst.ID)

	missing := func() {
		t.Helper()
		_, err = b.Start(t.Context(), inst.ID)
		require.ErrorIs(t, err, errors.ErrImageNotFound)
		for _, part := range []string{"step images", "scratch", path, "bring the image back", "RemoveDevice"} {
			require.ErrorContains(t, err, part)
		}
		require.Equal(t, 0, b.images.count(), "nothing is left of the start")
		require.Same(t, first, b.backend.guest(inst.ID), "nothing was launched")
	}
	missing()
	require.NoError(t, qmp.NewManager(b, qmp.WithRecorder(b.Manager)).RemoveDevice(t.Context(), inst.ID, "scratch"))
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Len(t, b.backend.guest(inst.ID).spec.Plugged, 1)

	require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, scratch(path)))
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	first = b.backend.guest(inst.ID)
	missing()
	b.images.mu.Lock()
	b.images.present[path] = true
	b.images.mu.Unlock()
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Len(t, b.backend.guest(inst.ID).spec.Plugged, 2)
}

// TestRemoveDeviceOfStoppedVM: a start comes without it, whoever made it, and does not
// need its image.
func TestRemoveDeviceOfStoppedVM(t *testing.T) {
	b := newBench(t)
	cfg := vm.Config{Name: "web", Devices: []vm.Device{{ID: "mine", Driver: "y"}},
		Disks: []vm.Disk{{Path: "/images/gone.raw"}, {Size: vm.MiB}, {Size: vm.MiB}}, Networks: []vm.Network{{}}}
	inst := b.add(t, cfg)
	m := qmp.NewManager(b, qmp.WithRecorder(b.Manager))
	_, err := b.Start(t.Context(), "web")
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	all := []string{"mine", "disk0", "disk1", "net0"}
	for _, id := range all {
		require.NoError(t, m.RemoveDevice(t.Context(), "web", id))
		require.ErrorIs(t, m.RemoveDevice(t.Context(), "web", id), errors.ErrVMNotRunning, "it is known no more")
	}
	require.ErrorContains(t, m.RemoveDevice(t.Context(), "web", "nothing"), "no such device")
	require.ErrorIs(t, m.RemoveDevice(t.Context(), "nobody", "mine"), errors.ErrVMNotFound)
	_, err = b.Start(t.Context(), "web")
	require.NoError(t, err)
	spec := b.backend.guest(inst.ID).spec
	require.Equal(t, all, spec.Unplugged)
	require.Len(t, spec.Images, 3, "one for each, in order")
	require.Equal(t, "disk2", spec.Images[2].Name)
	require.NotEmpty(t, spec.Images[2].Path)
	require.Equal(t, 1, b.images.count())
}

// TestForgetDeviceOfLiveVM: what a guest has is not for the record to say.
func TestForgetDeviceOfLiveVM(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	require.NoError(t, b.DeviceAdded(t.Context(), inst.ID, qmp.Device{ID: "rng", Driver: "x"}))
	_, err := b.ForgetDevice(t.Context(), inst.ID, "rng")
	require.ErrorIs(t, err, errors.ErrIllegalTransition)
	_, err = b.ForgetDevice(t.Context(), "nobody", "rng")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)

	// Another process has read the record, and starts the VM with the device.
	// Who watched the guest may look at its record for a moment more, so the lock is waited for.
	lock, err := flock.Wait(t.Context(), filepath.Join(b.dir, "locks", inst.ID+".lock"))
	require.NoError(t, err)
	force(t, b, inst, vm.Starting)
	err = qmp.NewManager(b, qmp.WithRecorder(b.Manager)).RemoveDevice(t.Context(), inst.ID, "rng")
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
	require.ErrorContains(t, err, "starting")
	force(t, b, inst, vm.Failed)
	require.NoError(t, lock.Unlock())
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"rng"}, pluggedIDs(now))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	known, err := b.ForgetDevice(ctx, inst.ID, "rng")
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, known)
}
