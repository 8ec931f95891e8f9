package storage_test

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/storage"
)

func TestCreate(t *testing.T) {
	m, root := manage(t)
	for _, format := range []string{"", storage.FormatQcow2, storage.FormatRaw} {
		path := filepath.Join(root, "vm", "disk."+format)
		img, err := m.Create(t.Context(), storage.CreateSpec{Path: path, Format: format, Size: 64 * mib})
		require.NoError(t, err)
		require.Equal(t, path, img.Path)
		require.EqualValues(t, 64*mib, img.Size)
		require.Less(t, img.Allocated, int64(mib), "sparse")

		got, err := m.Inspect(t.Context(), path, img.Format)
		require.NoError(t, err)
		require.Equal(t, img, got)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
	}
	for _, dir := range []string{root, filepath.Join(root, "vm")} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, fs.ModeDir|0o700, info.Mode())
	}
}

func TestCreateOddNames(t *testing.T) {
	m, root := manage(t)
	for i, name := range oddNames {
		for _, format := range []string{storage.FormatQcow2, storage.FormatRaw} {
			dir := filepath.Join(root, format+strconv.Itoa(i))
			base, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(dir, name), Format: format, Size: mib})
			require.NoError(t, err, "%q", name)
			top, err := m.Overlay(t.Context(), storage.OverlaySpec{
				Path: filepath.Join(dir, "over-"+name), Base: base.Path, BaseFormat: format, Size: 2 * mib,
			})
			require.NoError(t, err, "%q", name)
			got, err := m.Inspect(t.Context(), top.Path, storage.FormatQcow2)
			require.NoError(t, err, "%q", name)
			require.Equal(t, top, got)
			require.Equal(t, base.Path, got.Base)
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 2, "%q", name)
			require.NoError(t, m.Delete(t.Context(), top.Path), "%q", name)
			require.NoError(t, m.Delete(t.Context(), base.Path), "%q", name)
		}
	}
	requireEmpty(t, root)
}

func TestRelativePaths(t *testing.T) {
	m, root := manage(t)
	require.NoError(t, os.MkdirAll(root, 0o700))
	t.Chdir(root)
	for _, name := range []string{"nbd:localhost:1", "-o", "disk"} {
		img, err := m.Create(t.Context(), storage.CreateSpec{Path: name, Size: mib})
		require.NoError(t, err)
		require.Equal(t, filepath.Join(root, name), img.Path)
		_, err = m.Inspect(t.Context(), name, storage.FormatQcow2)
		require.NoError(t, err)
		require.NoError(t, m.Delete(t.Context(), name))
		require.NoFileExists(t, filepath.Join(root, name))
	}
}

func TestCreateRefuses(t *testing.T) {
	m, root := manage(t)
	outside := t.TempDir()
	require.NoError(t, os.MkdirAll(root, 0o700))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "escape")))
	writeFile(t, filepath.Join(root, "file"), "")
	for name, spec := range map[string]storage.CreateSpec{
		"no size":           {Path: filepath.Join(root, "a")},
		"negative size":     {Path: filepath.Join(root, "a"), Size: -512},
		"odd size":          {Path: filepath.Join(root, "a"), Size: 1000},
		"unknown format":    {Path: filepath.Join(root, "a"), Size: mib, Format: "vmdk"},
		"huge":              {Path: filepath.Join(root, "a"), Size: 1<<63 - 512},
		"huge raw":          {Path: filepath.Join(root, "a"), Size: 1<<63 - 512, Format: storage.FormatRaw},
		"no path":           {Size: mib},
		"zero byte":         {Path: filepath.Join(root, "a\x00b"), Size: mib},
		"the root itself":   {Path: root, Size: mib},
		"outside":           {Path: filepath.Join(outside, "a"), Size: mib},
		"dot dot":           {Path: root + "/../a", Size: mib},
		"through a symlink": {Path: filepath.Join(root, "escape", "a"), Size: mib},
		"below a symlink":   {Path: filepath.Join(root, "escape", "b", "a"), Size: mib},
		"below a file":      {Path: filepath.Join(root, "file", "a"), Size: mib},
		"name too long":     {Path: filepath.Join(root, strings.Repeat("x", 300)), Size: mib},
	} {
		_, err := m.Create(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrImageCreation, name)
		require.NoFileExists(t, filepath.Join(root, "a"), name)
	}
	requireEmpty(t, outside)
	require.NoFileExists(t, filepath.Join(filepath.Dir(root), "a"))
}

func TestNeverOverwrites(t *testing.T) {
	m, root := manage(t)
	base := writeFile(t, filepath.Join(root, "base"), strings.Repeat("x", 4096))
	for _, name := range []string{"file", "folder", "link", "dangling"} {
		path := filepath.Join(root, name)
		switch name {
		case "file":
			writeFile(t, path, "precious")
		case "folder":
			require.NoError(t, os.Mkdir(path, 0o700))
		case "link":
			require.NoError(t, os.Symlink("file", path))
		case "dangling":
			require.NoError(t, os.Symlink("nowhere", path))
		}
		for _, format := range []string{storage.FormatRaw, storage.FormatQcow2} {
			_, err := m.Create(t.Context(), storage.CreateSpec{Path: path, Format: format, Size: mib})
			require.ErrorIs(t, err, errors.ErrImageCreation, name)
			require.ErrorIs(t, err, fs.ErrExist, name)
		}
		_, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: path, Base: base, BaseFormat: storage.FormatRaw})
		require.ErrorIs(t, err, fs.ErrExist, name)
		_, err = os.Lstat(path)
		require.NoError(t, err, "what was there is still there")
	}
	content, err := os.ReadFile(filepath.Join(root, "file"))
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))
	require.NoFileExists(t, filepath.Join(root, "nowhere"))
}

func TestOneCreatorWins(t *testing.T) {
	m, root := manage(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := m.Create(context.Background(), storage.CreateSpec{Path: filepath.Join(root, "disk"), Size: mib})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("unexpected error: %v", err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, won.Load())
	_, err := m.Inspect(t.Context(), filepath.Join(root, "disk"), storage.FormatQcow2)
	require.NoError(t, err, "the losers did not touch the winner's image")
}

func TestOverlay(t *testing.T) {
	m, root := manage(t)
	base := writeFile(t, filepath.Join(t.TempDir(), "base.raw"), strings.Repeat("base", mib/4)+"odd end")
	require.NoError(t, os.Chmod(base, 0o400))
	require.NoError(t, os.Symlink(base, filepath.Join(filepath.Dir(base), "latest")))

	img, err := m.Overlay(t.Context(), storage.OverlaySpec{
		Path: filepath.Join(root, "a"), Base: filepath.Join(filepath.Dir(base), "latest"), BaseFormat: storage.FormatRaw,
	})
	require.NoError(t, err)
	require.Equal(t, base, img.Base, "the link is resolved")
	require.EqualValues(t, mib+512, img.Size, "rounded up to a whole sector")

	second, err := m.Overlay(t.Context(), storage.OverlaySpec{
		Path: filepath.Join(root, "b"), Base: img.Path, BaseFormat: storage.FormatQcow2, Size: 4 * mib,
	})
	require.NoError(t, err)
	got, err := m.Inspect(t.Context(), second.Path, storage.FormatQcow2)
	require.NoError(t, err)
	require.Equal(t, second, got)
	require.EqualValues(t, 4*mib, got.Size)

	// The guest sees the base's data through both layers.
	raw := filepath.Join(t.TempDir(), "out")
	qemuImg(t, "convert", "-f", "qcow2", "-O", "raw", second.Path, raw)
	data, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.Equal(t, "base", string(data[:4]))
	require.Equal(t, "odd end", string(data[mib:mib+7]))
}

func TestOverlayRefuses(t *testing.T) {
	m, root := manage(t)
	dir := t.TempDir()
	base := writeFile(t, filepath.Join(dir, "base"), strings.Repeat("x", 2*mib))
	long := writeFile(t, filepath.Join(dir, strings.Repeat(strings.Repeat("y", 200)+"/", 5)+"base"), strings.Repeat("x", mib))
	top := filepath.Join(root, "top")
	for says, spec := range map[string]storage.OverlaySpec{
		"less than the 2097152 bytes": {Path: top, Base: base, BaseFormat: storage.FormatRaw, Size: mib},
		"multiple of 512":             {Path: top, Base: base, BaseFormat: storage.FormatRaw, Size: 2*mib + 1},
		`format ""`:                   {Path: top, Base: base},
		"first bytes say raw":         {Path: top, Base: base, BaseFormat: storage.FormatQcow2},
		"a folder":                    {Path: top, Base: dir, BaseFormat: storage.FormatRaw},
		"can name 1023":               {Path: top, Base: long, BaseFormat: storage.FormatRaw},
		"not below":                   {Path: filepath.Join(dir, "top"), Base: base, BaseFormat: storage.FormatRaw},
		"path is empty":               {Path: top, BaseFormat: storage.FormatRaw},
	} {
		_, err := m.Overlay(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrImageCreation)
		require.ErrorContains(t, err, says)
	}
	_, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: top, Base: filepath.Join(dir, "missing"), BaseFormat: storage.FormatRaw})
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.NoDirExists(t, root, "nothing was even begun")
}

func TestFullDisk(t *testing.T) {
	m, root := manage(t)
	require.NoError(t, os.MkdirAll(root, 0o700))
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=8k,mode=0700"); err != nil {
		testhost.Lacks(t, "mounting a tmpfs needs root:", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(root, 0)) })
	_, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "disk"), Size: mib})
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.ErrorIs(t, err, unix.ENOSPC)
	requireEmpty(t, root)
	_, err = m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "disk"), Size: mib,
		Options: storage.Qcow2Options{Preallocation: storage.PreallocationFull}})
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.ErrorContains(t, err, "No space left on device")
	requireEmpty(t, root)
}

func TestProgramMissing(t *testing.T) {
	m, root := manageWith(t, nil)
	t.Setenv("MAQET_QEMU_IMG", "/nonexistent/qemu-img")
	_, err := m.Create(t.Context(), spec(filepath.Join(root, "disk")))
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.ErrorIs(t, err, errors.ErrQEMUNotFound)
	require.ErrorContains(t, err, "install qemu-utils")
	requireEmpty(t, root)

	for _, format := range []string{storage.FormatRaw, storage.FormatQcow2} {
		_, err = m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, format), Size: mib, Format: format})
		require.NoError(t, err, "empty images need no qemu-img")
	}
}

// spec is one that needs qemu-img.
func spec(path string) storage.CreateSpec {
	return storage.CreateSpec{Path: path, Size: mib, Options: storage.Qcow2Options{Preallocation: storage.PreallocationMetadata}}
}

// fakeProgram makes qemu-img a shell script.
func fakeProgram(t *testing.T, script string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fake-img")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700))
	t.Setenv("MAQET_QEMU_IMG", path)
}

func TestProgramFails(t *testing.T) {
	m, root := manageWith(t, nil)
	fakeProgram(t, "i=0; while [ $i -lt 500 ]; do echo 'much is said here'; i=$((i+1)); done >&2; echo 'the end' >&2; exit 3")
	_, err := m.Create(t.Context(), spec(filepath.Join(root, "disk")))
	require.ErrorIs(t, err, errors.ErrImageCreation)
	var run *storage.RunError
	require.ErrorAs(t, err, &run)
	require.Equal(t, "create", run.Args[1])
	require.Len(t, run.Stderr, 4096)
	require.True(t, strings.HasSuffix(run.Stderr, "the end\n"))
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	requireEmpty(t, root)
}

func TestCancelled(t *testing.T) {
	m, root := manageWith(t, nil)
	fakeProgram(t, "exec sleep 30")
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled time.Time
	time.AfterFunc(50*time.Millisecond, func() { cancelled = time.Now(); cancel() })
	_, err := m.Create(ctx, spec(filepath.Join(root, "disk")))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.Less(t, time.Since(cancelled), 2*time.Second)
	requireEmpty(t, root)

	for _, format := range []string{storage.FormatRaw, storage.FormatQcow2} {
		_, err = m.Create(ctx, storage.CreateSpec{Path: filepath.Join(root, "disk"), Size: mib, Format: format})
		require.ErrorIs(t, err, context.Canceled)
	}
	_, err = m.Inspect(ctx, "/etc/hostname", storage.FormatRaw)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, m.Delete(ctx, filepath.Join(root, "disk")), context.Canceled)
	requireEmpty(t, root)
}

func TestArguments(t *testing.T) {
	var calls [][]string
	m, root := manageWith(t, runner(func(_ context.Context, args ...string) ([]byte, error) {
		calls = append(calls, args)
		return nil, nil
	}))
	base := writeFile(t, filepath.Join(root, "base"), strings.Repeat("x", mib))
	key := writeFile(t, filepath.Join(root, "k,e"), "x")
	_, err := m.Create(t.Context(), spec(filepath.Join(root, "-a")))
	require.NoError(t, err)
	raw := storage.CreateSpec{Path: filepath.Join(root, "c"), Format: storage.FormatRaw, Size: mib,
		Options: storage.Qcow2Options{Preallocation: storage.PreallocationFalloc}}
	_, err = m.Create(t.Context(), raw)
	require.NoError(t, err)
	_, err = m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, "b"), Base: base, BaseFormat: storage.FormatRaw,
		Encryption: &storage.Encryption{Secret: storage.Secret{File: key}, Unlock: time.Second}})
	require.NoError(t, err)
	require.Equal(t, [][]string{
		{"create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "--", root + "/-a", "1048576"},
		{"create", "-q", "-f", "raw", "-o", "preallocation=falloc", "--", root + "/c", "1048576"},
		{"create", "--object", "secret,id=key,format=raw,file=" + root + "/k,,e", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", base,
			"-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=1000", "--", root + "/b", "1048576"},
	}, calls)
	for _, args := range calls {
		require.True(t, slices.Contains(args, "-f"), "a format is always given")
	}
}

func TestNewManagerNeedsRoot(t *testing.T) {
	_, err := storage.NewManager(storage.Options{})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
}
