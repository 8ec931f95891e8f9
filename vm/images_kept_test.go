package vm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// TestKeptImagesOfARemovedVM: images that were kept for the next start, and the layers over them,
// go with a VM that is removed before.
func TestKeptImagesOfARemovedVM(t *testing.T) {
	b := newImageBench(t)
	images, err := storage.NewManager(storage.Options{Root: filepath.Join(b.dir, "images"), Registry: b.store})
	require.NoError(t, err)
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB, Keep: new(bool)}}})
	r, err := b.Reserve(t.Context(), inst.ID)
	require.NoError(t, err)
	path := inst.Runtime.Disks[0].Path
	layer := filepath.Join(r.ImagesDir(), "layer-1.qcow2")
	_, err = images.Overlay(t.Context(), storage.OverlaySpec{Path: layer, Base: path, BaseFormat: storage.FormatQcow2,
		For: storage.For{Owner: inst.ID, Disk: inst.Runtime.Disks[0].Name, Kind: storage.KindLayer}})
	require.NoError(t, err)
	require.NoError(t, r.Update(t.Context(), func(i *vm.Instance) {
		i.Layers = []vm.Layer{{Disk: i.Runtime.Disks[0].Name, Path: layer}}
	}))
	r.Release()
	_, err = b.Stop(t.Context(), inst.ID, vm.KeepImages())
	require.NoError(t, err)
	require.FileExists(t, layer)
	require.NoError(t, b.Remove(t.Context(), inst.ID))
	left, err := os.ReadDir(filepath.Dir(path))
	if err == nil {
		require.Empty(t, left)
	}
	require.NoFileExists(t, path)
}
