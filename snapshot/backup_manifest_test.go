package snapshot_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
)

// handmade writes a folder of backups by hand: two of a disk "root", of which the second stands
// on base.
func handmade(t *testing.T, base string) (dir string) {
	t.Helper()
	_, err := exec.LookPath("qemu-img")
	testhost.Needs(t, "qemu-img (make setup installs it)", err)
	dir = t.TempDir()
	for _, args := range [][]string{
		{"create", "-q", "-f", "qcow2", filepath.Join(dir, "root.1.qcow2"), "1M"},
		{"create", "-q", "-f", "qcow2", "-u", "-F", "qcow2", "-b", base, filepath.Join(dir, "root.2.qcow2"), "1M"},
	} {
		out, err := exec.Command("qemu-img", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	var backups []map[string]any
	for i, base := range []string{"", base} {
		name := fmt.Sprintf("root.%d.qcow2", i+1)
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		backups = append(backups, map[string]any{"number": i + 1, "vm": "v", "name": "v", "disks": []map[string]any{
			{"name": "root", "file": name, "base": base, "size": 1 << 20, "bytes": info.Size(), "bitmap": "maqet-backup-a-b"}}})
	}
	text, err := json.Marshal(map[string]any{"format": 1, "vm": "v", "chain": "a0a0a0a0a0a0", "backups": backups})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "backup.json"), text, 0o600))
	return dir
}

// TestManifestLeadsNowhereElse: whoever can write to a folder of backups can't have other files
// of the host restored, nor the reader hang.
func TestManifestLeadsNowhereElse(t *testing.T) {
	dir := handmade(t, "root.1.qcow2")
	_, err := snapshot.RestoreBackup(t.Context(), dir, snapshot.RestoreSpec{Dir: filepath.Join(t.TempDir(), "new")})
	require.NoError(t, err, "what is well made is restored")

	secret := filepath.Join(t.TempDir(), "secret.qcow2")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", secret, "1M").CombinedOutput()
	require.NoError(t, err, "%s", out)
	outside, err := filepath.Rel(dir, secret)
	require.NoError(t, err)
	for name, base := range map[string]string{
		"relative": "../" + outside, "absolute": secret, "itself": "root.2.qcow2", "a later one": "root.3.qcow2", "another disk's": "data.1.qcow2",
	} {
		dir := handmade(t, base)
		_, err := snapshot.Backups(dir)
		require.ErrorIs(t, err, errors.ErrSnapshot, name)
		_, err = snapshot.RestoreBackup(t.Context(), dir, snapshot.RestoreSpec{Dir: filepath.Join(t.TempDir(), "new")})
		require.ErrorIs(t, err, errors.ErrSnapshot, name)
		require.ErrorContains(t, err, filepath.Base(base), name)
	}
	for name, change := range map[string]*strings.Replacer{
		"no chain":          strings.NewReplacer(`"a0a0a0a0a0a0"`, `""`),
		"an odd chain":      strings.NewReplacer(`"a0a0a0a0a0a0"`, `"../x"`),
		"a disk twice":      strings.NewReplacer(`"disks":[{`, `"disks":[{"name":"root","file":"root.1.qcow2"},{`),
		"no name of a disk": strings.NewReplacer(`"root"`, `""`, `"root.`, `".`),
	} {
		dir := handmade(t, "root.1.qcow2")
		path := filepath.Join(dir, "backup.json")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte(change.Replace(string(text))), 0o600))
		_, err = snapshot.Backups(dir)
		require.ErrorIs(t, err, errors.ErrSnapshot, name)
	}
}

// TestRestoreLooksAtAllFiles: what a file stands on is looked at as well before it is restored.
func TestRestoreLooksAtAllFiles(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, file string){
		"longer": func(t *testing.T, file string) {
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(file, info.Size()+1<<16))
		},
		"a symbolic link": func(t *testing.T, file string) {
			away := filepath.Join(t.TempDir(), "away.qcow2")
			require.NoError(t, os.Rename(file, away))
			require.NoError(t, os.Symlink(away, file))
		},
	} {
		dir := handmade(t, "root.1.qcow2")
		damage(t, filepath.Join(dir, "root.1.qcow2"))
		_, err := snapshot.RestoreBackup(t.Context(), dir, snapshot.RestoreSpec{Dir: filepath.Join(t.TempDir(), "new")})
		require.ErrorIs(t, err, errors.ErrStorage, name)
		require.ErrorContains(t, err, "root.1.qcow2", name)
	}
}
