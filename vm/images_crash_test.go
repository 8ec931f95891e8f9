package vm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// left puts what a process that died left where a VM's first disk is to be made.
func (b *imageBench) left(t *testing.T, inst vm.Instance, content []byte, row *storage.File) (path string) {
	t.Helper()
	path = filepath.Join(b.dir, "images", inst.ID, "disk0.qcow2")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	if row != nil {
		row.Path, row.Owner, row.Format = path, inst.ID, storage.FormatQcow2
		require.NoError(t, b.store.PutFile(t.Context(), *row))
	}
	return path
}

// rows returns what is registered of a VM's files.
func (b *imageBench) rows(t *testing.T, id string) []storage.File {
	t.Helper()
	files, err := b.store.Files(t.Context(), storage.FileFilter{Owner: id})
	require.NoError(t, err)
	return files
}

// TestMakerDied: wherever the maker of an image was killed, the next start makes a whole one,
// and its removal leaves nothing; what maqet did not make is neither overwritten nor deleted.
func TestMakerDied(t *testing.T) {
	zeros, qcow2 := make([]byte, 4<<16), []byte(nil)
	{
		path := filepath.Join(t.TempDir(), "cut")
		out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "0").CombinedOutput() // as it is while qemu-img preallocates
		require.NoError(t, err, "%s", out)
		qcow2, err = os.ReadFile(path)
		require.NoError(t, err)
	}
	unfinished := func() *storage.File { return &storage.File{Unfinished: true} }
	for name, c := range map[string]struct {
		content []byte
		row     *storage.File
	}{
		"before the row":     {nil, nil},
		"before the content": {nil, unfinished()},
		"before the header":  {zeros, unfinished()},
		"within qemu-img":    {qcow2, unfinished()},
		"row without a file": {nil, &storage.File{}},
	} {
		for _, keep := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				b := newImageBench(t)
				inst := b.add(t, vm.Config{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB, Keep: &keep}}})
				path := b.left(t, inst, c.content, c.row)
				if name == "row without a file" {
					require.NoError(t, os.Remove(path))
				}
				now, err := b.Start(t.Context(), inst.ID)
				require.NoError(t, err)
				img, err := b.images2(t).Inspect(t.Context(), path, storage.FormatQcow2)
				require.NoError(t, err)
				require.EqualValues(t, vm.MiB, img.Size)
				require.Len(t, b.rows(t, inst.ID), 1)
				require.False(t, b.rows(t, inst.ID)[0].Unfinished)
				_, err = b.Stop(t.Context(), now.ID)
				require.NoError(t, err)
				b.left(t, inst, c.content, c.row)
				require.NoError(t, b.Remove(t.Context(), inst.ID, vm.DeleteImages()))
				require.NoDirExists(t, filepath.Dir(path))
				require.Empty(t, b.rows(t, inst.ID))
			})
		}
	}
}

// TestForeignFile: a file that maqet did not make stays, whatever is done to the VM whose
// image it is in the way of.
func TestForeignFile(t *testing.T) {
	for _, keep := range []bool{true, false} {
		b := newImageBench(t)
		inst := b.add(t, vm.Config{Lifetime: vm.Persistent, CloudInit: &vm.CloudInit{}, Disks: []vm.Disk{{Size: vm.MiB, Keep: &keep}}})
		path := b.left(t, inst, []byte("precious"), nil)
		seed := filepath.Join(filepath.Dir(path), "seed.iso")
		require.NoError(t, os.WriteFile(seed, []byte("precious"), 0o600))
		_, err := b.Start(t.Context(), inst.ID)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad)
		require.True(t, bad.Has("disks[0]"), err)
		_, err = b.Reconcile(t.Context())
		require.NoError(t, err)
		require.NoError(t, b.Remove(t.Context(), inst.ID, vm.DeleteImages()))
		for _, file := range []string{path, seed} {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, "precious", string(data))
		}
	}
}

// TestForeignFileAtTheEnd: neither is one that came while the guest ran, and took the place of
// its image.
func TestForeignFileAtTheEnd(t *testing.T) {
	b := newImageBench(t)
	inst := b.start(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
	path := inst.Runtime.Disks[0].Path
	require.NoError(t, b.store.DropFile(t.Context(), path))
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.FileExists(t, path)
	require.NoError(t, b.Remove(t.Context(), inst.ID))
	require.FileExists(t, path)
}

// TestKeptImages: who stops a guest to start it again at once goes on with its images.
func TestKeptImages(t *testing.T) {
	b := newImageBench(t)
	inst := b.start(t, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
	path := inst.Runtime.Disks[0].Path
	content := func() string {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(data[4<<16:])
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.WriteString("what the guest wrote")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = b.Stop(t.Context(), inst.ID, vm.KeepImages())
	require.NoError(t, err)
	now, err := b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.False(t, now.ImagesKept)
	require.Equal(t, "what the guest wrote", content())
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.NoFileExists(t, path)
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Empty(t, content(), "the next life begins anew")
}
