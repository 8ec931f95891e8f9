package snapshot_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestBackupOfAnEncryptedDisk: what is encrypted does not get into files that are not, live or
// not, unless that is asked for.
func TestBackupOfAnEncryptedDisk(t *testing.T) {
	var key string
	b := newBench(t, map[string]string{"root": "qcow2"}, func(b *bench, cfg *vm.Config) {
		key = filepath.Join(b.dir, "key, with a comma")
		require.NoError(t, os.WriteFile(key, []byte("secret"), 0o600))
		locked := filepath.Join(b.dir, "locked.qcow2")
		b.image("create", "-q", "--object", "secret,id=k,data=secret", "-f", "qcow2", "-o",
			"encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10", locked, "8M")
		cfg.Disks = append(cfg.Disks, vm.Disk{Name: "locked", Path: locked, KeyFile: key})
	})
	refused := func(live bool) {
		dir := filepath.Join(t.TempDir(), "backups")
		_, err := b.Backup(patience(t), b.id, dir)
		var blocked *snapshot.BlockedError
		require.ErrorAs(t, err, &blocked, "live: %v", live)
		require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
		require.Len(t, blocked.Blockers, 1)
		require.Equal(t, "locked", blocked.Blockers[0].Device)
		require.NoDirExists(t, dir)
	}
	refused(false)
	pattern := bytes.Repeat([]byte{0xa7}, 64<<10)
	out := b.locked(key, "write -P 0xa7 1M 64k")
	require.Contains(t, out, "wrote 65536")

	dir := filepath.Join(t.TempDir(), "backups")
	for i := range 2 {
		made, err := b.Backup(patience(t), b.id, dir, snapshot.PlainText())
		require.NoError(t, err)
		require.Equal(t, i == 0, made.Disks[1].Base == "", made.Disks[1].Why)
		paths, err := snapshot.RestoreBackup(patience(t), dir, snapshot.RestoreSpec{Dir: filepath.Join(t.TempDir(), "new"), Format: vm.FormatRaw})
		require.NoError(t, err)
		data, err := os.ReadFile(paths["locked"])
		require.NoError(t, err)
		require.Equal(t, 1<<20, bytes.Index(data, pattern))
	}
	require.NoError(t, b.ForgetBackups(patience(t), b.id))

	_, err := b.vms.Start(patience(t), b.id)
	require.NoError(t, err)
	refused(true)
	made, err := b.Backup(patience(t), b.id, dir, snapshot.PlainText())
	require.NoError(t, err)
	require.True(t, made.Live)
}

// locked runs a command of qemu-io on the encrypted disk.
func (b *bench) locked(key, command string) string {
	b.t.Helper()
	out, err := exec.Command("qemu-io", "--object", "secret,id=k,format=raw,file="+strings.ReplaceAll(key, ",", ",,"), "-c", command,
		"--image-opts", "driver=qcow2,encrypt.format=luks,encrypt.key-secret=k,file.filename="+filepath.Join(b.dir, "locked.qcow2")).CombinedOutput()
	require.NoError(b.t, err, "%s", out)
	return string(out)
}

// TestBackupGivenUpWhileTheDaemonStarts: nobody waits for a daemon that is not there yet.
func TestBackupGivenUpWhileTheDaemonStarts(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2"})
	slow := filepath.Join(t.TempDir(), "slow")
	require.NoError(t, os.WriteFile(slow, []byte("#!/bin/sh\nexec sleep 100\n"), 0o700))
	t.Setenv("MAQET_QEMU_STORAGE_DAEMON", slow)
	ctx, cancel := context.WithTimeout(t.Context(), 1e9)
	defer cancel()
	_, err := b.Backup(ctx, b.id, filepath.Join(t.TempDir(), "backups"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel = context.WithTimeout(t.Context(), 20e9) // less than the daemon's time to quit
	defer cancel()
	t.Setenv("MAQET_QEMU_STORAGE_DAEMON", "")
	_, err = b.Backup(ctx, b.id, filepath.Join(t.TempDir(), "backups"))
	require.NoError(t, err, "the VM is nobody's any more")
}
