package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// Environment of a process that backs up and kills itself: the bench's folder, the VM, the
// folder of the backups, and the number of the step.
const (
	childDir    = "MAQET_BACKUP_DIR"
	childVM     = "MAQET_BACKUP_VM"
	childFolder = "MAQET_BACKUP_FOLDER"
	childStep   = "MAQET_BACKUP_STEP"
)

// TestBackupChild is what the child of other tests does.
func TestBackupChild(t *testing.T) {
	if os.Getenv(childDir) == "" {
		return // this is no child
	}
	last, err := strconv.Atoi(os.Getenv(childStep))
	require.NoError(t, err)
	b := &bench{t: t, dir: os.Getenv(childDir)}
	b.open()
	n := 0
	b.onStep = func(context.Context, string) {
		if n++; n == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it comes
		}
	}
	_, err = b.Backup(patience(t), os.Getenv(childVM), os.Getenv(childFolder), snapshot.NoFreeze(), snapshot.BackupRate(int64(1-min(last, 1))*slow),
		snapshot.OnProgress(func(p snapshot.Progress) {
			if last == 0 && p.Step == "copy" {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}))
	require.NoError(t, err)
}

// slow is a rate at which a copy of some MiB does not end before the test's patience.
const slow = 4 << 10

// killedAt backs up in another process, which is killed at a step; 0: in the middle of the copy,
// which is a slow one.
func (b *bench) killedAt(dir string, step int) {
	b.t.Helper()
	cmd := exec.CommandContext(patience(b.t), os.Args[0], "-test.run=^TestBackupChild$")
	cmd.Env = append(os.Environ(), childDir+"="+b.dir, childVM+"="+b.id, childFolder+"="+dir, childStep+"="+strconv.Itoa(step))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(b.t, err, &exit, "%s", out)
	require.Equal(b.t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "%s", out)
	if inst, err := b.vms.Get(b.t.Context(), b.id); err == nil && inst.State.Live() {
		return
	}
	require.Eventually(b.t, func() bool { // its storage daemon dies with it, a little later
		return exec.Command("qemu-img", "info", "-f", "qcow2", b.disks["root"]).Run() == nil &&
			exec.Command("qemu-img", "info", "-f", "qcow2", b.disks["data"]).Run() == nil
	}, time.Minute, 5*time.Millisecond)
}

// steps returns the steps of a backup into dir.
func (b *bench) steps(dir string) (names []string) {
	b.t.Helper()
	b.onStep = func(_ context.Context, step string) { names = append(names, step) }
	defer func() { b.onStep = nil }()
	_, err := b.Backup(patience(b.t), b.id, dir, snapshot.NoFreeze())
	require.NoError(b.t, err)
	return names
}

// requireSound backs up once more, after something went wrong, and checks that everything is as
// it should be: nothing but what belongs to backups is in the folder, the images are sound, there
// is one bitmap a disk, and the last backup holds what the disks do.
func (b *bench) requireSound(dir string) snapshot.Backup {
	b.t.Helper()
	got, err := b.Backup(patience(b.t), b.id, dir)
	require.NoError(b.t, err)
	b.requireTidy(dir)
	require.NoError(b.t, snapshot.VerifyBackup(patience(b.t), dir))
	require.Equal(b.t, b.contents(), restored(b.t, dir, got.Number, vm.FormatRaw))
	for name, path := range b.disks {
		if filepath.Ext(path) == ".qcow2" {
			b.image("check", "-q", "-f", "qcow2", path)
			require.Equal(b.t, 1, strings.Count(b.bitmaps(name), `"name": "maqet-`), b.bitmaps(name))
		}
	}
	return got
}

// requireTidy checks that nothing but what belongs to backups is in a folder.
func (b *bench) requireTidy(dir string) {
	b.t.Helper()
	want := []string{"backup.lock"}
	list, err := snapshot.Backups(dir)
	if err == nil {
		want = append(want, "backup.json")
	}
	for _, l := range list {
		for _, d := range l.Disks {
			want = append(want, d.File)
		}
	}
	require.ElementsMatch(b.t, want, files(b.t, dir))
}

// TestBackupKilled: our process is killed at each step of a backup, the first into a folder and a
// later one, of a VM that is not live.
func TestBackupKilled(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	b.write("root", "0 1M", 1)
	count := len(b.steps(filepath.Join(t.TempDir(), "count")))
	require.NoError(t, b.ForgetBackups(patience(t), b.id))
	dir := filepath.Join(t.TempDir(), "backups")
	for step := 1; step <= count; step++ {
		first := filepath.Join(t.TempDir(), "first")
		b.killedAt(first, step)
		b.requireFirst(first)
		require.NoError(t, b.ForgetBackups(patience(t), b.id))

		before := b.requireSound(dir)
		b.write("data", fmt.Sprintf("%dk 64k", 64*step), step)
		b.killedAt(dir, step)
		list, err := snapshot.Backups(dir)
		require.NoError(t, err)
		made := len(list) > before.Number
		require.Equal(t, step == count, made, "step %d", step) // the last is after it was listed
		b.write("data", fmt.Sprintf("%dk 64k", 64*step+1024), step)
		b.requireSound(dir)
		require.NoError(t, b.ForgetBackups(patience(t), b.id))
	}
}

// requireFirst backs up into a folder in which a first backup was cut off.
func (b *bench) requireFirst(dir string) {
	b.t.Helper()
	got, err := b.Backup(patience(b.t), b.id, dir)
	require.NoError(b.t, err)
	require.LessOrEqual(b.t, got.Number, 2)
	b.requireTidy(dir)
	require.Equal(b.t, b.contents(), restored(b.t, dir, 0, vm.FormatRaw))
}

// TestBackupCancelled: ctx ends at each step.
func TestBackupCancelled(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	dir := filepath.Join(t.TempDir(), "backups")
	steps := b.steps(dir)
	for i, name := range steps {
		t.Run(fmt.Sprint(i, " ", name), func(t *testing.T) {
			b.write("root", fmt.Sprintf("%dk 64k", 64*i), i+1)
			ctx, cancel := context.WithCancel(patience(t))
			defer cancel()
			n, before := 0, files(t, dir)
			b.onStep = func(context.Context, string) {
				if n++; n == i+1 {
					cancel()
				}
			}
			_, err := b.Backup(ctx, b.id, dir)
			b.settled()
			b.onStep = nil
			if name != "backup: settle" { // which is after it was listed
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, before, files(t, dir))
			}
			b.write("data", fmt.Sprintf("%dk 64k", 64*i), i+1)
			got := b.requireSound(dir)
			require.Equal(t, map[string]bool{"root": false, "data": false}, whole(got))
		})
	}
}

// settled waits until what was given up is undone, in the background.
func (b *bench) settled() {
	b.t.Helper()
	reservation, err := b.vms.Reserve(patience(b.t), b.id)
	require.NoError(b.t, err)
	reservation.Release()
}

// TestBackupDaemonKilled: the storage daemon is killed at each step.
func TestBackupDaemonKilled(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	b.write("root", "0 1M", 1)
	dir := filepath.Join(t.TempDir(), "backups")
	for i, name := range b.steps(dir) {
		t.Run(fmt.Sprint(i, " ", name), func(t *testing.T) {
			b.write("root", fmt.Sprintf("%dk 64k", 64*i), i+2)
			n := 0
			b.onStep = func(context.Context, string) {
				if n++; n == i+1 {
					killDaemon(t)
				}
			}
			_, err := b.Backup(patience(t), b.id, dir)
			b.onStep = nil
			if name != "backup: settle" && name != "backup: list" {
				require.ErrorIs(t, err, errors.ErrSnapshotCreation)
				b.requireTidy(dir)
			} else {
				require.NoError(t, err)
			}
			got := b.requireSound(dir)
			require.Equal(t, map[string]bool{"root": true, "data": true}, whole(got))
			require.Contains(t, got.Disks[0].Why, "QEMU was killed")
		})
	}
}

// killDaemon kills the storage daemon that this process has started.
func killDaemon(t testing.TB) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	for _, list := range lists {
		data, _ := os.ReadFile(list)
		for _, pid := range strings.Fields(string(data)) {
			exe, _ := os.Readlink("/proc/" + pid + "/exe")
			if filepath.Base(exe) != "qemu-storage-daemon" {
				continue
			}
			number, err := strconv.Atoi(pid)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(number, syscall.SIGKILL))
			require.Eventually(t, func() bool { return errors.Is(syscall.Kill(number, 0), syscall.ESRCH) }, time.Minute, time.Millisecond)
			return
		}
	}
	t.Fatal("there is no storage daemon")
}

// smallDisk returns a folder with a file system of its own.
func smallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	testhost.Needs(t, "mounting a small tmpfs", unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size="+size+",mode=0700"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

// TestBackupWithoutSpace: what can be known to have no room is refused, and what has none in the
// end is undone.
func TestBackupWithoutSpace(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2"})
	disk := smallDisk(t, "6m")
	dir := filepath.Join(disk, "backups")
	b.write("root", "0 1M", 1)
	_, err := b.Backup(patience(t), b.id, dir)
	require.NoError(t, err)

	b.write("data", "0 6M", 1)
	before := files(t, dir)
	_, err = b.Backup(patience(t), b.id, dir)
	var blocked *snapshot.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.Contains(t, err.Error(), "not enough space")
	require.Equal(t, before, files(t, dir))

	b.write("data", "0 6M", 0)
	b.io("data", "discard 0 6M")
	require.NoError(t, b.ForgetBackups(patience(t), b.id))
	b.write("data", "0 2M", 7)
	filler := filepath.Join(disk, "filler")
	b.onStep = func(_ context.Context, step string) {
		if step == "backup: start" {
			require.ErrorIs(t, fill(filler), syscall.ENOSPC)
		}
	}
	_, err = b.Backup(patience(t), b.id, dir)
	b.onStep = nil
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, err, errors.ErrSnapshotCreation)
	require.Equal(t, before, files(t, dir))
	require.NoError(t, os.Remove(filler))
	b.requireSound(dir)
}

// fill makes a file that takes what space there is, and returns what stopped it.
func fill(path string) error {
	return os.WriteFile(path, make([]byte, 64<<20), 0o600)
}
