package vm_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// hostBackend is a backend on a host of its own: a folder, where images are files without
// folders for each VM.
type hostBackend struct {
	*fakeBackend
	images *hostImages
}

func (b hostBackend) HostImages() vm.HostImages { return b.images }

type hostImages struct {
	*storage.Manager
	dir    string
	staged []string
	lost   error // why the host does not answer
}

func (h *hostImages) ImagePath(_ context.Context, id, name string) (string, error) {
	return filepath.Join(h.dir, id+"-"+name), h.lost
}

func (h *hostImages) ImageSize(_ context.Context, path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, errors.Wrap(errors.ErrImageNotFound, "", "", err)
	}
	return info.Size(), nil
}

func (h *hostImages) Stage(_ context.Context, path, _ string) (string, error) {
	h.staged = append(h.staged, path)
	return "/staged" + path, nil
}

func newHostBench(t *testing.T) (*imageBench, *hostImages) {
	b := newImageBench(t)
	h := &hostImages{dir: t.TempDir()}
	var err error
	h.Manager, err = storage.NewManager(storage.Options{Root: h.dir, Registry: b.store})
	require.NoError(t, err)
	b.Manager, err = vm.NewManager(vm.Options{Store: b.store, Images: b.images, Booter: b.booter, Dir: b.dir,
		Backends: map[string]vm.Backend{"process": hostBackend{b.backend, h}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Manager.Close()) })
	return b, h
}

// TestHostImages: all that is made for a VM is made on its backend's host, and goes there.
func TestHostImages(t *testing.T) {
	b, h := newHostBench(t)
	keep := true
	iso, base := b.img(t, "cd.iso", "raw"), b.img(t, "base.qcow2", "qcow2")
	inst := b.add(t, vm.Config{CloudInit: &vm.CloudInit{}, Disks: []vm.Disk{
		{Size: vm.MiB}, {Name: "kept", Base: base, Keep: &keep}, {Name: "read", Path: iso, ReadOnly: true}}})
	planned := b.Images(inst)
	require.Equal(t, []string{"", "", iso}, []string{planned[0].Path, planned[1].Path, planned[2].Path}, "nobody knows yet")
	inst, err := b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	at := func(name string) string { return filepath.Join(h.dir, inst.ID+"-"+name) }
	got := inst.Runtime.Disks
	require.Equal(t, []string{at("disk0.qcow2"), at("kept.qcow2"), "/staged" + iso}, []string{got[0].Path, got[1].Path, got[2].Path})
	require.Equal(t, []string{iso}, h.staged)
	require.Equal(t, at("seed.iso"), inst.Runtime.Seed)
	require.Equal(t, at("kept.qcow2"), b.Images(inst)[1].Path)
	for _, name := range []string{"disk0.qcow2", "kept.qcow2", "seed.iso"} {
		require.FileExists(t, at(name))
	}
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.NoFileExists(t, at("disk0.qcow2"))
	require.NoFileExists(t, at("seed.iso"))
	require.FileExists(t, at("kept.qcow2"))
	cfg := inst.Config
	cfg.Disks = []vm.Disk{{Name: "kept", Base: iso, Format: "raw", Keep: &keep}}
	_, err = b.Apply(t.Context(), cfg)
	require.ErrorContains(t, err, "has been made over")
	require.NoError(t, b.Remove(t.Context(), inst.ID, vm.DeleteImages()))
	left, err := os.ReadDir(h.dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoDirExists(t, filepath.Join(b.dir, "images", inst.ID), "never anything here")
}

// TestHostOfImagesIsLost: the start fails, and a VM of which nothing was made can go.
func TestHostOfImagesIsLost(t *testing.T) {
	b, h := newHostBench(t)
	inst := b.add(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
	h.lost = errors.ErrHostUnreachable
	_, err := b.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrHostUnreachable)
	require.NoError(t, b.Remove(t.Context(), inst.ID))
}

// TestLeftOnTheHostBefore: an image that could not be deleted when the guest ended goes when the
// VM starts elsewhere.
func TestLeftOnTheHostBefore(t *testing.T) {
	b, h := newHostBench(t)
	at := "far"
	m, err := vm.NewManager(vm.Options{Store: b.store, Images: b.images, Booter: b.booter, Dir: b.dir,
		Placers:  map[string]vm.Placer{"any": placer(func() string { return at })},
		Backends: map[string]vm.Backend{"process": b.backend, "far": hostBackend{newFakeBackend(t), h}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	inst, err := m.Add(t.Context(), vm.Config{Backend: "any", Disks: []vm.Disk{{Size: vm.MiB}}})
	require.NoError(t, err)
	inst, err = m.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	disk := inst.Runtime.Disks[0].Path
	h.lost = errors.ErrHostUnreachable
	_, err = m.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.FileExists(t, disk)
	at, h.lost = "process", nil
	inst, err = m.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, "process", inst.Host)
	require.NoFileExists(t, disk)
	require.NoError(t, m.Remove(t.Context(), inst.ID, vm.ForceRemove()))
}

// placer is a vm.Placer.
type placer func() string

func (p placer) Place(context.Context, vm.Instance) (string, error) { return p(), nil }
