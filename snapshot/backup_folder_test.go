package snapshot_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// TestBackupFolderRefused: nothing is written to a folder that can't be used.
func TestBackupFolderRefused(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2"})
	full := filepath.Join(t.TempDir(), "full")
	_, err := b.Backup(patience(t), b.id, full)
	require.NoError(t, err)
	manifest, err := os.ReadFile(filepath.Join(full, "backup.json"))
	require.NoError(t, err)
	text := string(manifest)
	for _, c := range []struct {
		name  string
		files map[string]string
		why   string
	}{
		{"somebody's files", map[string]string{"thesis.tex": "work"}, "thesis.tex"},
		{"another VM's", map[string]string{"backup.json": strings.Replace(text, b.id, "0f0f0f0f-0000-0000-0000-000000000000", 1)}, "0f0f0f0f"},
		{"no JSON", map[string]string{"backup.json": "{"}, "backup.json"},
		{"a newer layout", map[string]string{"backup.json": strings.Replace(text, `"format": 1`, `"format": 2`, 1)}, "format 2"},
		{"a path that leads out", map[string]string{"backup.json": strings.ReplaceAll(text, "root", "../root")}, "../root"},
		{"a leftover that leads out", map[string]string{"backup.pending": `{"chain":"a","files":["../precious"]}`}, "../precious"},
		{"a file in the way", map[string]string{"backup.json": text, "root.1.qcow2": "", "root.2.qcow2": "mine"}, "root.2.qcow2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			}
			_, err := b.Backup(patience(t), b.id, dir)
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			require.ErrorContains(t, err, c.why)
			for name, content := range c.files {
				data, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				require.Equal(t, content, string(data))
			}
		})
	}
	for _, dir := range []string{"", filepath.Join(b.dir, "images", "x"), filepath.Join(full, "backup.json"), filepath.Join(full, "backup.json", "x")} {
		_, err := b.Backup(patience(t), b.id, dir)
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration, dir)
	}
	_, err = b.Backup(patience(t), "nobody", t.TempDir())
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	_, err = b.Backup(patience(t), b.id, t.TempDir(), snapshot.DiskOnly())
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	b.requireSound(full)
}

// TestBackupBlocked: a VM that has nothing to back up, or no image yet.
func TestBackupBlocked(t *testing.T) {
	b := newBench(t, nil)
	for _, cfg := range []vm.Config{
		{Lifetime: vm.Persistent},
		{Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.GiB}}},
	} {
		inst, err := b.vms.Add(t.Context(), cfg)
		require.NoError(t, err)
		dir := filepath.Join(t.TempDir(), "backups")
		_, err = b.Backup(patience(t), inst.ID, dir)
		var blocked *snapshot.BlockedError
		require.ErrorAs(t, err, &blocked)
		require.NoDirExists(t, dir)
		_, err = snapshot.Backups(dir)
		require.ErrorIs(t, err, errors.ErrSnapshotNotFound)
	}
}

// TestVerifyBackup: each kind of damage is found, and named with the file.
func TestVerifyBackup(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2"})
	good := filepath.Join(t.TempDir(), "good")
	for i := range 3 {
		b.write("root", "1M 1M", i+1)
		_, err := b.Backup(patience(t), b.id, good)
		require.NoError(t, err)
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, file string)
		why    string
	}{
		{"gone", func(t *testing.T, file string) { require.NoError(t, os.Remove(file)) }, "can't be found"},
		{"longer", func(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 64<<20)) }, "has changed"},
		{"data", func(t *testing.T, file string) { overwrite(t, file, 0x50000+123, "x") }, "SHA-256"},
		{"no qcow2", func(t *testing.T, file string) { overwrite(t, file, 0, "zzzz") }, "first bytes"},
		{"refcounts", func(t *testing.T, file string) { overwrite(t, file, 0x20000, "\x00\x07") }, "is damaged"},
		{"another base", func(t *testing.T, file string) {
			out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", file).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}, "stands on"},
		{"a symbolic link", func(t *testing.T, file string) {
			require.NoError(t, os.Rename(file, file+".moved"))
			require.NoError(t, os.Symlink(file+".moved", file))
		}, "has changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "bad")
			require.NoError(t, os.CopyFS(dir, os.DirFS(good)))
			require.NoError(t, snapshot.VerifyBackup(patience(t), dir))
			c.damage(t, filepath.Join(dir, "root.2.qcow2"))
			err := snapshot.VerifyBackup(patience(t), dir)
			require.ErrorIs(t, err, errors.ErrSnapshot)
			require.ErrorContains(t, err, c.why)
			var fault *storage.ImageError
			require.ErrorAs(t, err, &fault)
			require.Equal(t, "root.2.qcow2", filepath.Base(fault.Path))
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, snapshot.VerifyBackup(ctx, good), context.Canceled)
	require.ErrorIs(t, snapshot.VerifyBackup(t.Context(), good, snapshot.FullBackup()), errors.ErrInvalidConfiguration)
}

func overwrite(t *testing.T, file string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(text), at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestRestoreBackupRefuses: nothing is overwritten, nothing half restored stays, and nothing is
// read that the manifest does not name.
func TestRestoreBackupRefuses(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	dir := filepath.Join(t.TempDir(), "backups")
	for i := range 2 {
		b.write("data", "1M 1M", i+1)
		_, err := b.Backup(patience(t), b.id, dir)
		require.NoError(t, err)
	}
	to := t.TempDir()
	there := filepath.Join(to, "data.qcow2")
	require.NoError(t, os.WriteFile(there, []byte("mine"), 0o600))
	for _, c := range []struct {
		name string
		spec snapshot.RestoreSpec
		kind error
	}{
		{"a file is there", snapshot.RestoreSpec{Dir: to}, errors.ErrImageCreation},
		{"no such backup", snapshot.RestoreSpec{Dir: to, Number: 3}, errors.ErrSnapshotNotFound},
		{"a negative number", snapshot.RestoreSpec{Dir: to, Number: -1}, errors.ErrSnapshotNotFound},
		{"no target", snapshot.RestoreSpec{}, errors.ErrInvalidConfiguration},
		{"two targets", snapshot.RestoreSpec{Dir: to, Paths: map[string]string{"root": filepath.Join(to, "r")}}, errors.ErrInvalidConfiguration},
		{"no such disk", snapshot.RestoreSpec{Paths: map[string]string{"swap": filepath.Join(to, "r")}}, errors.ErrInvalidConfiguration},
		{"no such format", snapshot.RestoreSpec{Dir: to, Format: "vmdk"}, errors.ErrInvalidConfiguration},
	} {
		_, err := snapshot.RestoreBackup(patience(t), dir, c.spec)
		require.ErrorIs(t, err, c.kind, c.name)
		require.Equal(t, []string{"data.qcow2"}, files(t, to), c.name)
	}
	data, err := os.ReadFile(there)
	require.NoError(t, err)
	require.Equal(t, "mine", string(data))

	paths, err := snapshot.RestoreBackup(patience(t), dir, snapshot.RestoreSpec{Number: 1, Paths: map[string]string{"root": filepath.Join(to, "r 1,x")}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"root": filepath.Join(to, "r 1,x")}, paths)

	ctx, cancel := context.WithCancel(t.Context())
	_, err = snapshot.RestoreBackup(ctx, dir, snapshot.RestoreSpec{Dir: filepath.Join(to, "new")},
		snapshot.OnProgress(func(p snapshot.Progress) {
			if p.Done >= 8<<20 {
				cancel() // one disk is restored
			}
		}))
	require.ErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, filepath.Join(to, "new"))

	out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", filepath.Join(dir, "data.2.qcow2")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, err = snapshot.RestoreBackup(patience(t), dir, snapshot.RestoreSpec{Dir: filepath.Join(to, "new")})
	require.ErrorContains(t, err, "stands on")
	require.NoDirExists(t, filepath.Join(to, "new"))
}
