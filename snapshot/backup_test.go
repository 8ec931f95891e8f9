package snapshot_test

import (
	"os"
	"path/filepath"
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
