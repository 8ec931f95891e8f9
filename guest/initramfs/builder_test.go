//go:build linux

package initramfs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/artifact"
	"github.com/maqet/maqet/internal/testhost"
)

func TestBaseOfTheArchive(t *testing.T) {
	b := Builder{Init: staticInit(t), Busybox: "none", CacheDir: t.TempDir()}
	path, err := b.Build(t.Context())
	require.NoError(t, err)
	got := unpack(t, path)
	require.Equal(t, "#!init", got["init"].text)
	require.EqualValues(t, unix.S_IFREG|0o755, got["init"].Mode)
	require.EqualValues(t, unix.S_IFCHR|0o600, got["dev/console"].Mode)
	require.EqualValues(t, [2]uint64{5, 1}, [2]uint64{got["dev/console"].Rmajor, got["dev/console"].Rminor})
	require.EqualValues(t, [2]uint64{1, 3}, [2]uint64{got["dev/null"].Rmajor, got["dev/null"].Rminor})
	require.EqualValues(t, unix.S_IFDIR|0o1777, got["tmp"].Mode)
	require.Equal(t, "../bin", got["usr/bin"].text)
	require.Contains(t, got["etc/passwd"].text, "root:x:0:0:")
	for _, list := range []string{RequiredFile, AliasFile} {
		require.Contains(t, got, strings.TrimPrefix(list, "/"), "init finds its lists also when there are no modules")
	}
}

func TestSameInputsGiveTheSameBytes(t *testing.T) {
	mods, init := fakeModules(t), staticInit(t)
	tree := t.TempDir()
	put(t, filepath.Join(tree, "b"), []byte("b"))
	put(t, filepath.Join(tree, "a/c"), []byte("c"))
	var archives [][]byte
	for range 2 {
		b := Builder{Init: init, Modules: mods, CacheDir: t.TempDir(), Files: map[string]string{"/opt/tree": tree, "/z": init}}
		path, err := b.Build(t.Context())
		require.NoError(t, err)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		archives = append(archives, data)
	}
	require.True(t, bytes.Equal(archives[0], archives[1]))
}

func TestArchiveIsMadeAgainWhenAnInputChanges(t *testing.T) {
	mods := fakeModules(t)
	b := Builder{Init: staticInit(t), Modules: mods, Busybox: "none", CacheDir: t.TempDir()}
	settle()
	first, err := b.Build(t.Context())
	require.NoError(t, err)
	same, err := b.Build(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, same)
	put(t, filepath.Join(mods, "kernel/drivers/virtio.ko"), fakeModule("depends=virtio_ring", "alias=new"))
	other, err := b.Build(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first, other)
	require.FileExists(t, first, "a guest may be starting from it")
}

func TestModulesAndTheirOrder(t *testing.T) {
	mods := fakeModules(t)
	for _, index := range []string{"walked", "modules.dep"} {
		t.Run(index, func(t *testing.T) {
			if index == "modules.dep" {
				var dep strings.Builder
				for _, name := range []string{"virtio.ko", "virtio_ring.ko.xz", "virtio_pci.ko.zst", "virtio_console.ko.gz", "virtio_blk.ko", "virtio-rng.ko", "extra.ko"} {
					dep.WriteString("kernel/drivers/" + name + ": whatever\n")
				}
				put(t, filepath.Join(mods, "modules.dep"), []byte(dep.String()))
			}
			b := Builder{Init: staticInit(t), Modules: mods, Busybox: "none", CacheDir: t.TempDir(), Extra: []string{"extra"}}
			path, err := b.Build(t.Context())
			require.NoError(t, err)
			got := unpack(t, path)
			const dir = "/lib/modules/6.1.0-test/kernel/drivers/"
			require.Equal(t, []string{
				dir + "virtio_ring.ko", dir + "virtio.ko", dir + "virtio_pci.ko", dir + "virtio_console.ko",
			}, strings.Fields(got["etc/maqet/modules.required"].text))
			require.Equal(t, []string{
				"virtio:d00000002v* " + dir + "virtio_blk.ko " + dir + "virtio_ring.ko " + dir + "virtio.ko " + dir + "virtio-rng.ko",
				"virtio:d00000004v* " + dir + "virtio-rng.ko " + dir + "virtio_ring.ko " + dir + "virtio.ko",
				"fs-extra " + dir + "extra.ko",
				"platform:extra " + dir + "extra.ko",
			}, strings.Split(strings.TrimSpace(got["etc/maqet/modules.alias"].text), "\n"))
			require.Equal(t, string(fakeModule("depends=")), got[dir[1:]+"virtio_ring.ko"].text, "uncompressed")
			require.NotContains(t, got, dir[1:]+"unrelated.ko")
			require.Contains(t, got["lib/modules/6.1.0-test/modules.dep"].text,
				"kernel/drivers/virtio_pci.ko: kernel/drivers/virtio.ko kernel/drivers/virtio_ring.ko\n")
			require.Contains(t, got["lib/modules/6.1.0-test/modules.alias"].text, "alias fs-extra extra\n")
		})
	}
}

func TestModulesThatAreMissingOrDamaged(t *testing.T) {
	damage := map[string]func(dir string){
		"required is missing":       func(dir string) { os.Remove(filepath.Join(dir, "virtio_pci.ko.zst")) },
		"needed is missing":         func(dir string) { os.Remove(filepath.Join(dir, "virtio_ring.ko.xz")) },
		"compressed data is cut":    func(dir string) { os.Truncate(filepath.Join(dir, "virtio_ring.ko.xz"), 40) },
		"no ELF file":               func(dir string) { put(t, filepath.Join(dir, "virtio.ko"), []byte("text")) },
		"no information in the ELF": func(dir string) { os.WriteFile(filepath.Join(dir, "virtio.ko"), fakeModule()[:64], 0o600) },
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			mods := fakeModules(t)
			do(filepath.Join(mods, "kernel/drivers"))
			b := Builder{Init: staticInit(t), Modules: mods, Busybox: "none", CacheDir: t.TempDir()}
			_, err := b.Build(t.Context())
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			left, err := filepath.Glob(filepath.Join(b.CacheDir, "initramfs", "*"))
			require.NoError(t, err)
			require.Equal(t, []string{filepath.Join(b.CacheDir, "initramfs", "lock")}, left)
		})
	}
}

func TestBuiltInModulesAreNotLookedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "6.1.0")
	put(t, filepath.Join(dir, "modules.builtin"), []byte("kernel/virtio_pci.ko\nkernel/virtio-console.ko\n"))
	path, err := Builder{Init: staticInit(t), Modules: dir, Busybox: "none", CacheDir: t.TempDir()}.Build(t.Context())
	require.NoError(t, err)
	require.Empty(t, unpack(t, path)["etc/maqet/modules.required"].text)
}

func TestBusyboxAndItsApplets(t *testing.T) {
	b := Builder{Init: staticInit(t), CacheDir: t.TempDir()}
	path, err := b.Build(t.Context())
	require.NoError(t, err)
	got := unpack(t, path)
	if _, ok := got["bin/busybox"]; !ok {
		testhost.Lacks(t, "no static busybox: apt-get install busybox-static")
	}
	require.EqualValues(t, unix.S_IFREG|0o755, got["bin/busybox"].Mode)
	for _, applet := range []string{"sh", "ls", "insmod", "mount"} {
		require.Equal(t, "busybox", got["bin/"+applet].text)
	}
	require.NotContains(t, got, "bin/modprobe", "the kernel would run it while it boots")
	b.Busybox = hostTool(t)
	_, err = b.Build(t.Context())
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration, "not static")
}

func TestBuildCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Builder{Init: staticInit(t), CacheDir: t.TempDir()}.Build(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestApplets(t *testing.T) {
	for program, want := range map[string][]string{
		"\x7fELF..\xb3\x00[\x00[[\x00cat\x00sh\x00\x00more": {"[", "[[", "cat", "sh"},
		"[\x00[[\x00sh\x00cat\x00\x00":                      nil, // not in order: something else
		"[\x00[[\x00cat\x00s/h\x00\x00":                     nil,
		"[\x00[[\x00cat\x00sh":                              nil, // without an end
		"no list":                                           nil,
	} {
		require.Equal(t, want, applets([]byte(program)), "%q", program)
	}
	path, err := findBusybox(&artifact.Inputs{})
	require.NoError(t, err)
	if path == "" {
		testhost.Lacks(t, "no static busybox on this host")
	}
	list, err := exec.Command(path, "--list").Output()
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strings.Fields(string(list)), applets(data))
}
