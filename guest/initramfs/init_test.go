//go:build linux

package initramfs

import (
	"context"
	"debug/elf"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// program returns sources with the layout of package guest.
func program(body string) fstest.MapFS {
	return fstest.MapFS{
		"init/main.go":      {Data: []byte("package main\n\nimport \"github.com/maqet/maqet/guest/wire\"\n\nfunc main() { " + body + " }\n")},
		"init/main_test.go": {Data: []byte("this must not be compiled")},
		"wire/wire.go":      {Data: []byte("package wire\n\nfunc Serve() {}\n")},
	}
}

func TestInitIsCompiledOnce(t *testing.T) {
	t.Setenv(EnvInit, "")
	t.Setenv("GOFLAGS", "-tags=nonsense -mod=vendor") // the user's settings don't matter
	o := InitOptions{CacheDir: t.TempDir()}
	paths := make([]string, 4)
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range paths {
		wg.Go(func() { paths[i], errs[i] = BuildInit(t.Context(), program("wire.Serve()"), o) })
	}
	wg.Wait()
	for i := range paths {
		require.NoError(t, errs[i])
		require.Equal(t, paths[0], paths[i])
	}
	static, err := isStatic(paths[0])
	require.NoError(t, err)
	require.True(t, static)
	info, err := os.Stat(paths[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	changed, err := BuildInit(t.Context(), program("wire.Serve(); println(1)"), o)
	require.NoError(t, err)
	require.NotEqual(t, paths[0], changed)

	t.Setenv("TMPDIR", filepath.Join(o.CacheDir, "none")) // a compiler would work there
	again, err := BuildInit(t.Context(), program("wire.Serve()"), o)
	require.NoError(t, err)
	require.Equal(t, paths[0], again)
	_, err = BuildInit(t.Context(), program("wire.Serve(); println(2)"), o)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestInitForAnotherArchitecture(t *testing.T) {
	t.Setenv(EnvInit, "")
	path, err := BuildInit(t.Context(), program("wire.Serve()"), InitOptions{CacheDir: t.TempDir(), Arch: "aarch64"})
	require.NoError(t, err)
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, elf.EM_AARCH64, f.Machine)
}

func TestInitWithoutGo(t *testing.T) {
	t.Setenv(EnvInit, "")
	t.Setenv("PATH", t.TempDir())
	_, err := BuildInit(t.Context(), program("wire.Serve()"), InitOptions{CacheDir: t.TempDir()})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "https://go.dev/dl")
	require.ErrorContains(t, err, EnvInit)
}

func TestInitThatDoesNotCompile(t *testing.T) {
	t.Setenv(EnvInit, "")
	o := InitOptions{CacheDir: t.TempDir()}
	_, err := BuildInit(t.Context(), program("wire.Nonsense()"), o)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "undefined: wire.Nonsense")
	left, err := filepath.Glob(filepath.Join(o.CacheDir, "init", "*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(o.CacheDir, "init", "lock")}, left)
}

func TestPrebuiltInit(t *testing.T) {
	static, err := BuildInit(t.Context(), program("wire.Serve()"), InitOptions{CacheDir: t.TempDir()})
	require.NoError(t, err)
	t.Setenv(EnvInit, static)
	t.Setenv("PATH", t.TempDir())
	got, err := BuildInit(t.Context(), program(""), InitOptions{})
	require.NoError(t, err)
	require.Equal(t, static, got)

	for name, path := range map[string]string{
		"dynamic": hostToolPath, "no program": put(t, filepath.Join(t.TempDir(), "x"), []byte("x")), "missing": "/none",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := BuildInit(t.Context(), program(""), InitOptions{Path: path})
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			require.ErrorContains(t, err, path)
		})
	}
}

const hostToolPath = "/bin/ls"

func TestCancelledCompilation(t *testing.T) {
	t.Setenv(EnvInit, "")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := BuildInit(ctx, program("wire.Serve()"), InitOptions{CacheDir: t.TempDir()})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)
}
