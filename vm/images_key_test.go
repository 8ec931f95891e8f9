package vm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// key makes a file with a passphrase.
func (b *imageBench) key(t *testing.T, name string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(b.at(name), []byte("open, sesame"), 0o600))
	require.NoError(t, os.Chmod(b.at(name), mode))
	return b.at(name)
}

// luks makes an encrypted image with qemu-img.
func (b *imageBench) luks(t *testing.T, name, key string) string {
	t.Helper()
	return b.img(t, name, "qcow2", "--object", "secret,id=k,file="+key, "-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=1")
}

// TestBadKeys: what is wrong with a key is an error before anything is made.
func TestBadKeys(t *testing.T) {
	b := newImageBench(t)
	key := b.key(t, "key", 0o600)
	plain, locked := b.img(t, "plain.qcow2", "qcow2"), b.luks(t, "locked.qcow2", key)
	for name, c := range map[string]struct {
		disk  vm.Disk
		field string
		says  string
	}{
		"missing":             {vm.Disk{Size: vm.MiB, KeyFile: b.at("missing")}, "disks[0].key_file", "no such file"},
		"open to the group":   {vm.Disk{Size: vm.MiB, KeyFile: b.key(t, "open", 0o640)}, "disks[0].key_file", "mode 0640"},
		"a folder":            {vm.Disk{Path: locked, KeyFile: b.home}, "disks[0].key_file", "not in a regular file"},
		"nothing to open":     {vm.Disk{Path: plain, KeyFile: key}, "disks[0].path", "is not encrypted"},
		"read-only, no key":   {vm.Disk{Path: locked, ReadOnly: true}, "disks[0].path", "is given no key"},
		"a base, and no key":  {vm.Disk{Base: locked}, "disks[0].base", "is given no key"},
		"a base, and bad key": {vm.Disk{Base: locked, KeyFile: b.at("open")}, "disks[0].key_file", "chmod 600"},
	} {
		bad := b.refused(t, c.disk)
		require.Len(t, bad.Problems, 1, name)
		require.Equal(t, c.field, bad.Problems[0].Field, name)
		require.ErrorContains(t, bad, c.says, name)
	}
	require.ErrorIs(t, b.refused(t, vm.Disk{Size: vm.MiB, KeyFile: b.at("missing")}), os.ErrNotExist)
	for _, d := range []vm.Disk{{Path: "/a.raw", KeyFile: key}, {Media: vm.MediaCDROM, KeyFile: key}, {Size: vm.MiB, KeyFile: "a\x00b"}} {
		var bad *errors.ConfigError
		require.ErrorAs(t, vm.Config{Disks: []vm.Disk{d}}.Validate(), &bad)
		require.True(t, bad.Has("disks[0].key_file"), "%+v: %v", d, bad)
	}
}

// TestKeyedImages: what is made for a disk with a key is encrypted, and the backend is told of
// the images below it if it needs the key for one of them.
func TestKeyedImages(t *testing.T) {
	b := newImageBench(t)
	key := b.key(t, "key", 0o400)
	locked, raw := b.luks(t, "locked.qcow2", key), b.img(t, "a.raw", "raw")
	disks := []vm.Disk{{Path: locked, ReadOnly: true, KeyFile: key}, {Base: locked, KeyFile: key}, {Base: raw}}
	inst := b.start(t, vm.Config{Lifetime: vm.Persistent, Disks: disks})
	check := func(images []vm.Image) {
		t.Helper()
		for i, want := range []struct {
			encrypted bool
			bases     []string
		}{{true, nil}, {true, []string{locked}}, {false, nil}} {
			require.Equal(t, want.encrypted, images[i].Encrypted, i)
			var bases []string
			for _, base := range images[i].Bases {
				bases = append(bases, base.Path)
			}
			require.Equal(t, want.bases, bases, i)
			img, err := b.images2(t).Inspect(t.Context(), images[i].Path, images[i].Format)
			require.NoError(t, err)
			require.Equal(t, want.encrypted, img.Encrypted, i)
		}
	}
	check(inst.Runtime.Disks)
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	inst, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	check(inst.Runtime.Disks)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)

	// What is kept is as it was made: with a key, or without.
	next := inst.Config.Clone()
	next.Disks[1].KeyFile, next.Disks[2].KeyFile = "", key
	_, err = b.Apply(t.Context(), next)
	require.NoError(t, err)
	_, err = b.Start(t.Context(), inst.ID)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	require.ErrorContains(t, bad, "is given no key")
	require.ErrorContains(t, bad, "is not encrypted, and the disk has a key_file")
	require.Len(t, bad.Problems, 2)
}

// images2 looks at images that are not the manager's to make.
func (b *imageBench) images2(t *testing.T) *storage.Manager {
	t.Helper()
	m, err := storage.NewManager(storage.Options{Root: filepath.Join(b.dir, "images")})
	require.NoError(t, err)
	return m
}
