package snapshot_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// whole says which disks of a backup were copied whole.
func whole(b snapshot.Backup) map[string]bool {
	m := map[string]bool{}
	for _, d := range b.Disks {
		m[d.Name] = d.Base == ""
	}
	return m
}

// TestBackupsOfAStoppedVM: a full one, then incremental ones; each generation is restored bit
// for bit, also after the folder was moved.
func TestBackupsOfAStoppedVM(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2", "plain": "raw"})
	dir := filepath.Join(t.TempDir(), "backups")
	var want []map[string]string
	for i := range 4 {
		b.write("root", "0 1M", 10+i)
		b.write("root", "2M 64k", 20+i)
		b.write("data", "5M 100k", 30+i)
		b.write("plain", "1M 3k", 40+i)
		if i == 2 {
			b.io("root", "write -z 2M 1M")
		}
		want = append(want, b.contents())
		got, err := b.Backup(patience(t), b.id, dir)
		require.NoError(t, err)
		require.Equal(t, i+1, got.Number)
		require.False(t, got.Live)
		require.Equal(t, map[string]bool{"root": i == 0, "data": i == 0, "plain": true}, whole(got))
	}
	require.NoError(t, snapshot.VerifyBackup(patience(t), dir))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	moved := filepath.Join(t.TempDir(), "moved")
	require.NoError(t, os.Rename(dir, moved))
	list, err := snapshot.Backups(moved)
	require.NoError(t, err)
	require.Len(t, list, 4)
	for i := range want {
		require.Equal(t, want[i], restored(t, moved, i+1, vm.FormatRaw), "backup %d", i+1)
		require.Equal(t, want[i], restored(t, moved, i+1, ""), "backup %d", i+1)
	}
	require.Equal(t, want[3], restored(t, moved, 0, ""))
	require.NoError(t, snapshot.VerifyBackup(patience(t), moved))
}

// TestBackupWhole: a disk is copied whole where what was written since is not known, and the
// backup says why; the other disk is not.
func TestBackupWhole(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	dir := filepath.Join(t.TempDir(), "backups")
	first, err := b.Backup(patience(t), b.id, dir)
	require.NoError(t, err)
	require.Contains(t, first.Disks[0].Why, "first")
	root := b.disks["root"]
	for i, c := range []struct {
		name string
		do   func()
		why  string
	}{
		{"nothing", func() {}, ""},
		{"resized", func() { b.image("resize", "-q", "-f", "qcow2", root, "9M") }, "size has changed, from 8388608 to 9437184"},
		{"killed", func() { abort(root) }, "QEMU was killed"},
		{"replaced", func() {
			require.NoError(t, os.Remove(root))
			b.image("create", "-q", "-f", "qcow2", root, "9M")
		}, "other contents"},
		{"its file lost", func() {
			list, err := snapshot.Backups(dir)
			require.NoError(t, err)
			last := list[len(list)-1].Disks[0]
			require.NoError(t, os.Remove(filepath.Join(dir, last.File)))
		}, "missing"},
		{"in use", func() { b.image("bitmap", "--disable", "-f", "qcow2", root, b.bitmap("root")) }, "somebody else"},
		{"nothing again", func() {}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.write("root", "64k 128k", i+1)
			b.write("data", "64k 128k", i+1)
			c.do()
			got, err := b.Backup(patience(t), b.id, dir)
			require.NoError(t, err)
			require.Equal(t, map[string]bool{"root": c.why != "", "data": false}, whole(got))
			require.Contains(t, got.Disks[0].Why, c.why)
			require.Equal(t, c.why == "", got.Disks[0].Why == "", got.Disks[0].Why)
			require.Equal(t, b.contents(), restored(t, dir, got.Number, ""))
		})
	}
	b.write("data", "64k 128k", 99)
	got, err := b.Backup(patience(t), b.id, dir, snapshot.FullBackup(), snapshot.NoChecksums())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"root": true, "data": true}, whole(got))
	require.Empty(t, got.Disks[0].SHA256)
	require.Equal(t, b.contents(), restored(t, dir, 0, ""))
}

// bitmap returns the name of the one bitmap in an image.
func (b *bench) bitmap(disk string) string {
	b.t.Helper()
	found := regexp.MustCompile(`"name": "(maqet-[^"]*)"`).FindAllStringSubmatch(b.bitmaps(disk), -1)
	require.Len(b.t, found, 1)
	return found[0][1]
}

// abort opens an image to write and crashes.
func abort(path string) {
	_ = exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 9 0 64k", "-c", "abort", path).Run() // it fails, as it should
}

// TestBackupOfOtherDisks: a disk that is new is copied whole, one that is gone is left out, and
// when it is back only what was written since is copied.
func TestBackupOfOtherDisks(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	dir := filepath.Join(t.TempDir(), "backups")
	inst, err := b.vms.Get(t.Context(), b.id)
	require.NoError(t, err)
	both, one := inst.Config, inst.Config
	both.Name, one.Name = inst.Name, inst.Name
	one.Disks = both.Disks[:1]
	for i, c := range []struct {
		cfg  vm.Config
		want map[string]bool
	}{
		{one, map[string]bool{"root": true}},
		{both, map[string]bool{"root": false, "data": true}},
		{one, map[string]bool{"root": false}},
		{both, map[string]bool{"root": false, "data": false}},
	} {
		b.write("root", "1M 64k", i+1)
		b.write("data", "1M 64k", i+1)
		_, err := b.vms.Apply(t.Context(), c.cfg)
		require.NoError(t, err)
		got, err := b.Backup(patience(t), b.id, dir)
		require.NoError(t, err)
		require.Equal(t, c.want, whole(got))
		for name, sum := range restored(t, dir, got.Number, "") {
			require.Equal(t, b.content(b.disks[name]), sum)
		}
	}
	require.NoError(t, snapshot.VerifyBackup(patience(t), dir))
}

// TestBackupsIntoTwoFolders: neither knows of the other.
func TestBackupsIntoTwoFolders(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2"})
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	want := map[string][]map[string]string{}
	for i, turn := range []int{0, 1, 0, 0, 1, 1, 0} {
		dir := dirs[turn]
		b.write("root", fmt.Sprintf("%dk 64k", 256*i), i+1)
		want[dir] = append(want[dir], b.contents())
		got, err := b.Backup(patience(t), b.id, dir)
		require.NoError(t, err)
		require.Equal(t, map[string]bool{"root": len(want[dir]) == 1}, whole(got))
	}
	for _, dir := range dirs {
		require.NoError(t, snapshot.VerifyBackup(patience(t), dir))
		for i := range want[dir] {
			require.Equal(t, want[dir][i], restored(t, dir, i+1, ""))
		}
	}
	require.Equal(t, 2, strings.Count(b.bitmaps("root"), "maqet-"))
	require.NoError(t, b.ForgetBackups(patience(t), b.id))
	require.Equal(t, 0, strings.Count(b.bitmaps("root"), "maqet-"))
}

// TestBackupAfterLoad: a snapshot that is loaded changes more than was written.
func TestBackupAfterLoad(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	dir := filepath.Join(t.TempDir(), "backups")
	b.write("root", "0 1M", 1)
	_, err := b.Backup(patience(t), b.id, dir)
	require.NoError(t, err)
	_, err = b.Create(patience(t), b.id, "before")
	require.NoError(t, err)
	b.write("root", "0 2M", 2)
	got := b.requireSound(dir)
	require.Equal(t, map[string]bool{"root": false, "data": false}, whole(got))
	require.NoError(t, b.Load(patience(t), b.id, "before"))
	got = b.requireSound(dir)
	require.Equal(t, map[string]bool{"root": true, "data": true}, whole(got))
	require.Contains(t, got.Disks[0].Why, "other contents")
}
