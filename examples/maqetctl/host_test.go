package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

func TestStorage(t *testing.T) {
	needGuests(t) // qemu-img comes with QEMU
	dir := t.TempDir()
	require.Contains(t, ctl(t, dir, "storage", "ls").ok(t), "there are no images")
	base := parsed[storage.Image](t, ctl(t, dir, "storage", "create", "base.qcow2", "64M", "--json").ok(t))
	require.Equal(t, storage.Image{Path: filepath.Join(dir, "images", "base.qcow2"), Format: "qcow2", Size: 64 << 20, Allocated: base.Allocated}, base)
	ctl(t, dir, "storage", "create", "base.qcow2", "64M").failed(t, exitExists) // never overwritten
	overlay := parsed[storage.Image](t, ctl(t, dir, "storage", "overlay", "sub/web.qcow2", base.Path, "--size", "128M", "--json").ok(t))
	require.Equal(t, base.Path, overlay.Base)
	require.Equal(t, int64(128<<20), overlay.Size)
	require.Contains(t, ctl(t, dir, "storage", "info", overlay.Path).ok(t), "base         "+base.Path)

	ctl(t, dir, "add", "-n", "web", "--disk", overlay.Path).ok(t)
	list := parsed[[]imageShown](t, ctl(t, dir, "storage", "ls", "--json").ok(t))
	require.Len(t, list, 2)
	require.Equal(t, "sub/web.qcow2", list[1].Name)
	require.Equal(t, "web", list[1].VM)
	require.Contains(t, ctl(t, dir, "storage", "rm", "-y", "sub/web.qcow2").failed(t, exitState), "the VM uses it")
	ctl(t, dir, "storage", "rm", "base.qcow2").failed(t, exitDenied)
	require.FileExists(t, base.Path)
	require.Contains(t, ctl(t, dir, "storage", "rm", "-y", "base.qcow2").failed(t, exitState), "is the base of")
	ctl(t, dir, "rm", "-y", "web").ok(t)
	ctl(t, dir, "storage", "rm", "-y", "sub/web.qcow2").ok(t)
	ctl(t, dir, "storage", "rm", "-y", "base.qcow2").ok(t)
	require.NoFileExists(t, base.Path)

	stranger := write(t, filepath.Join(t.TempDir(), "x.raw"), "not maqet's")
	ctl(t, dir, "storage", "rm", "-y", stranger).failed(t, exitFailure)
	require.FileExists(t, stranger)
}

func TestDoctor(t *testing.T) {
	needGuests(t)
	dir := t.TempDir()
	got := ctl(t, dir, "doctor")
	require.Contains(t, got.ok(t), "plain VM")
	require.Contains(t, got.out, "folder of records")

	t.Setenv("MAQET_QEMU", "/no/such/qemu")
	got = ctl(t, dir, "doctor", "--json")
	require.Equal(t, "QEMUNotFound", failureOf(t, got.failed(t, exitMissing)).Kind)
	bad := map[string]check{}
	for _, c := range parsed[[]check](t, got.out) {
		if c.Verdict == verdictFailed {
			bad[c.Name] = c
		}
	}
	require.Len(t, bad, 1)
	require.Equal(t, "correct MAQET_QEMU", bad["plain VM"].Do)

	file := write(t, filepath.Join(t.TempDir(), "file"), "")
	got = ctl(t, filepath.Join(file, "sub"), "doctor")
	require.NotZero(t, got.code)
	require.Regexp(t, `folder of records +failed`, got.out)
	require.NoFileExists(t, filepath.Join(dir, "none"))
}

func TestFoldersAreTheLibrarys(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(envDir, "")
	t.Setenv("XDG_RUNTIME_DIR", dir)
	got, err := (&app{}).folders()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "maqet"), got.runtime)
	t.Setenv(envDir, filepath.Join(dir, "x"))
	got, err = (&app{}).folders()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "x"), got.data)
	require.Equal(t, filepath.Join(dir, "x", "run"), got.runtime)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries) // nothing was made
}
