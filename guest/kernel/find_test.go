package kernel

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
)

// place unpacks a fake kernel package at root.
func place(t *testing.T, root, version string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "lib/modules", version), 0o700))
	return write(t, filepath.Join(root, "boot/vmlinuz-"+version), bzImage(version, make([]byte, 20)))
}

// options searches only folders of the test.
func options(t *testing.T) Options {
	t.Helper()
	t.Setenv(EnvKernel, "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return Options{Arch: archX86, CacheDir: t.TempDir(), BootDir: t.TempDir()}
}

func TestFindOrder(t *testing.T) {
	o := options(t)
	find := func() string {
		k, err := Find(t.Context(), o)
		require.NoError(t, err)
		return k.Path
	}
	_, err := Find(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "make setup")
	require.ErrorContains(t, err, "apt-get install linux-image-cloud-amd64")
	require.ErrorContains(t, err, EnvKernel)

	installed := write(t, filepath.Join(o.BootDir, "vmlinuz-9.9"), bzImage("9.9", make([]byte, 20)))
	require.Equal(t, installed, find())

	kernels := filepath.Join(o.CacheDir, "kernels", archX86)
	place(t, filepath.Join(kernels, "6.1.0-9-cloud"), "6.1.0-9-cloud")
	newest := place(t, filepath.Join(kernels, "6.1.0-10-cloud"), "6.1.0-10-cloud")
	write(t, filepath.Join(kernels, "7/boot/vmlinuz-7"), []byte("damaged"))
	require.Equal(t, newest, find(), "the newest that is one, before /boot")

	named := write(t, filepath.Join(t.TempDir(), "k"), bzImage("1.0", make([]byte, 20)))
	t.Setenv(EnvKernel, named)
	require.Equal(t, named, find())
	o.Path = "auto"
	require.Equal(t, named, find())
	o.Path = installed
	require.Equal(t, installed, find())
}

// TestFindForAnotherArchitecture: Debian's kernel for riscv64 is called vmlinux, and the
// one that MAQET_KERNEL names is for guests like the host.
func TestFindForAnotherArchitecture(t *testing.T) {
	o := options(t)
	o.Arch = archRISCV
	if HostArch() == o.Arch {
		o.Arch = archARM64
	}
	t.Setenv(EnvKernel, write(t, filepath.Join(t.TempDir(), "k"), bzImage("6.1.0", make([]byte, 20))))
	_, err := Find(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrKernelNotFound)
	require.ErrorContains(t, err, "scripts/setup.sh --arch "+o.Arch)

	root := filepath.Join(o.CacheDir, "kernels", o.Arch, "6.12.0")
	want := write(t, filepath.Join(root, "boot/vmlinux-6.12.0"), image(map[string]string{archRISCV: magicRISCV, archARM64: magicARM64}[o.Arch], "6.12.0"))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "usr/lib/modules/6.12.0"), 0o700))
	k, err := Find(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, want, k.Path)
	require.Equal(t, filepath.Join(root, "usr/lib/modules/6.12.0"), k.Modules)

	t.Setenv(EnvKernel, want)
	require.NoError(t, os.RemoveAll(filepath.Join(o.CacheDir, "kernels")))
	_, err = Find(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrKernelNotFound, "it is gone")
}

func TestFindCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Find(ctx, options(t))
	require.ErrorIs(t, err, context.Canceled)
}

func TestFindInTheUsersCache(t *testing.T) {
	o := options(t)
	home, err := DefaultCacheDir()
	require.NoError(t, err)
	want := place(t, filepath.Join(home, "kernels", archX86, "6.1.0"), "6.1.0")
	k, err := Find(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, want, k.Path, "the set-up script does not know of another cache folder")
	require.Equal(t, filepath.Join(home, "kernels", archX86, "6.1.0/lib/modules/6.1.0"), k.Modules)
}

func TestFindNamesWhatIsWrong(t *testing.T) {
	o := options(t)
	o.Path = filepath.Join(t.TempDir(), "none")
	_, err := Find(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "Config.Boot.Kernel")

	o.Path = ""
	t.Setenv(EnvKernel, write(t, filepath.Join(t.TempDir(), "Image"), image(magicARM64, "6.1.0")))
	_, err = Find(t.Context(), o)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, EnvKernel)
	require.ErrorContains(t, err, "aarch64")
}

func TestModulesOfAKernel(t *testing.T) {
	root := t.TempDir()
	path := place(t, root, "6.1.0")
	k, err := Open(t.Context(), path, "")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "lib/modules/6.1.0"), k.Modules)

	given := t.TempDir()
	want := filepath.Join(given, "usr/lib/modules/6.1.0")
	require.NoError(t, os.MkdirAll(want, 0o700))
	k, err = Open(t.Context(), path, "", given)
	require.NoError(t, err)
	require.Equal(t, want, k.Modules, "the folder that is given comes first")

	k, err = Open(t.Context(), write(t, filepath.Join(t.TempDir(), "k"), bzImage("0.0.1-none", make([]byte, 20))), "")
	require.NoError(t, err)
	require.Empty(t, k.Modules)
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{
		"vmlinuz-5.10.0-30-amd64", "vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-10-amd64", "vmlinuz-6.1.0-010-cloud-amd64",
		"vmlinuz-6.12", "vmlinuz-6.12.1", "vmlinuz-10.0",
	}
	for i := range len(ascending) - 1 {
		require.Negative(t, compareVersions(ascending[i], ascending[i+1]), "%s, %s", ascending[i], ascending[i+1])
		require.Positive(t, compareVersions(ascending[i+1], ascending[i]))
		require.Zero(t, compareVersions(ascending[i], ascending[i]))
	}
}

func TestIntegrationStockKernel(t *testing.T) {
	k, err := Find(t.Context(), Options{})
	if err != nil {
		testhost.Lacks(t, err)
	}
	require.NotEmpty(t, k.Version)
	require.DirExists(t, k.Modules)
	if k.Arch != archX86 {
		t.Skip("only x86 kernels have a PVH entry point")
	}
	path, err := k.Vmlinux(t.Context())
	require.NoError(t, err, "a distribution's kernel has a PVH entry point")
	uncompressed, err := Open(t.Context(), path, "")
	require.NoError(t, err)
	require.Equal(t, k.Version, uncompressed.Version)
}
