package vm_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// TestOwnerDiedBeforeItRecordedImages: what was made for one run goes, also if nobody wrote
// down that it was made; what is kept stays.
func TestOwnerDiedBeforeItRecordedImages(t *testing.T) {
	b := newBench(t)
	no := false
	inst := b.add(t, vm.Config{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB}, {Name: "scratch", Size: vm.MiB, Keep: &no}}})
	_, err := b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, 2, b.images.count())
	now, err := b.store.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	now.State, now.Runtime = vm.Starting, vm.Runtime{} // as lifecycle.mark has it
	require.NoError(t, b.Close())
	b.backend.guest(inst.ID).end(errors.ExitStatus{})
	got, err := b.store.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = b.store.Update(t.Context(), now, got.State, got.Version)
	require.NoError(t, err)

	second := b.second(t)
	_, err = second.Reconcile(t.Context())
	require.NoError(t, err)
	now, err = second.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Failed, now.State)
	require.Equal(t, 1, b.images.count(), "the disk that is kept")
}

// busy is a condition during which a device is plugged, another lets go and a helper ends.
type busy struct {
	b  *bench
	t  *testing.T
	id string
}

func (busy) String() string { return "it holds" }
func (c busy) Wait(ctx context.Context, _ string) error {
	for _, id := range []string{"rng", "gone"} {
		if err := c.b.DeviceAdded(ctx, c.id, qmp.Device{ID: id, Driver: "x"}); err != nil {
			return err
		}
	}
	g := c.b.backend.guest(c.id)
	g.event("VSERPORT_CHANGE", `{"open":true,"id":"agent"}`) // it is up, as soon as the next event is handled
	g.event("DEVICE_DELETED", `{"device":"gone"}`)
	if err := c.until(ctx, func(i vm.Instance) bool { return len(i.Plugged) == 1 }); err != nil {
		return err
	}
	g.lost <- lostHelper(c.t)
	return c.until(ctx, func(i vm.Instance) bool { return i.Reason != "" })
}

// until waits until the record is as it should be.
func (c busy) until(ctx context.Context, is func(vm.Instance) bool) error {
	for {
		now, err := c.b.store.Get(ctx, c.id)
		if err != nil || is(now) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// TestRecordChangesDuringStart: a device that is plugged, or a helper that ends, while the
// start waits for the guest is no reason for it to fail, nor is it forgotten.
func TestRecordChangesDuringStart(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	now, err := b.Start(t.Context(), inst.ID, vm.WaitFor(busy{b, t, inst.ID}))
	require.NoError(t, err)
	require.Equal(t, vm.Running, now.State)
	require.Equal(t, []string{"rng"}, pluggedIDs(now))
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
}

// TestDisksAndCardsGoneUnwatched: who finds the guest again looks for all that it may have let
// go of.
func TestDisksAndCardsGoneUnwatched(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}, Networks: []vm.Network{{Name: "lan"}}})
	require.NoError(t, b.Close())
	second := b.second(t)
	_, err := second.QMP(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		now, err := second.Get(t.Context(), inst.ID)
		require.NoError(t, err)
		return len(now.Unplugged) == 2
	}, 5*time.Second, time.Millisecond)
}

// TestStartKnowsTheRunBefore: what nobody could clear away when it ended, such as a helper
// that could not be killed, is still known at the next start.
func TestStartKnowsTheRunBefore(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{})
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	clear(b.backend.swept)
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, inst.Runtime.Process, b.backend.swept[inst.ID].Process)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
}

// TestUnfinishedImage: an empty file, which is where an image was to be made when its maker
// died, is no reason for a VM never to start again.
func TestUnfinishedImage(t *testing.T) {
	b := newImageBench(t)
	inst := b.add(t, vm.Config{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB}}})
	path := filepath.Join(b.dir, "images", inst.ID, "disk0.qcow2")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	made, err := os.Stat(path)
	require.NoError(t, err)
	require.Positive(t, made.Size())
}

// TestKeptDiskKeepsItsBase: a guest would go on with the old one, and nobody would know.
func TestKeptDiskKeepsItsBase(t *testing.T) {
	b := newImageBench(t)
	old, fresh := b.img(t, "old.raw", "raw"), b.img(t, "fresh.raw", "raw")
	cfg := vm.Config{Name: "web", Lifetime: vm.Persistent, Disks: []vm.Disk{{Base: old}}}
	inst, err := b.Apply(t.Context(), cfg)
	require.NoError(t, err)
	with := func(d vm.Disk) error {
		next := cfg
		next.Disks = []vm.Disk{d}
		_, err := b.Apply(t.Context(), next)
		return err
	}
	require.NoError(t, with(vm.Disk{Base: fresh}), "nothing was made of it yet")
	require.NoError(t, with(vm.Disk{Base: old}))
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)

	for _, d := range []vm.Disk{{Base: fresh}, {Size: vm.GiB}} {
		err = with(d)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad)
		require.True(t, bad.Has("disks[0].base"), err)
		require.ErrorContains(t, err, old)
		require.FileExists(t, filepath.Join(b.dir, "images", inst.ID, "disk0.qcow2"))
	}
	no := false
	require.NoError(t, with(vm.Disk{Base: old, Serial: "new"}))
	require.NoError(t, with(vm.Disk{Base: fresh, Name: "other"}))
	require.NoError(t, with(vm.Disk{Base: old}))
	require.NoError(t, with(vm.Disk{Base: fresh, ReadOnly: true}))
	require.NoError(t, with(vm.Disk{Base: old}))
	require.NoError(t, with(vm.Disk{Base: fresh, Keep: &no}))
}
