package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// start boots the VM.
func (b *bench) start() {
	b.t.Helper()
	begun := time.Now()
	_, err := b.vms.Start(patience(b.t), b.id, vm.WaitFor(b.guests.Until(guest.AgentReady())))
	require.NoError(b.t, err)
	b.t.Logf("booted in %v", time.Since(begun).Round(time.Millisecond))
}

func (b *bench) stop(opts ...vm.StopOption) {
	b.t.Helper()
	_, err := b.vms.Stop(patience(b.t), b.id, opts...)
	require.NoError(b.t, err)
}

// sh runs a script in the guest.
func (b *bench) sh(script string) string {
	b.t.Helper()
	res, err := b.guests.Exec(patience(b.t), b.id, guest.Command{Args: []string{"sh", "-c", script}})
	require.NoError(b.t, err, "%s", res.Stderr)
	return strings.TrimSpace(string(res.Stdout))
}

// devices are what the guest calls the disks.
var devices = map[string]string{"root": "vda", "data": "vdb", "plain": "vdc"}

// scribble has the guest write a random pattern to each disk.
func (b *bench) scribble(seek, count int) {
	b.t.Helper()
	b.sh(fmt.Sprintf("for d in vda vdb vdc; do dd if=/dev/urandom of=/dev/$d bs=64k seek=%d count=%d conv=fsync,notrunc 2>/dev/null; done", seek, count))
}

// seen returns digests of the disks as the guest reads them.
func (b *bench) seen() map[string]string {
	b.t.Helper()
	all := map[string]string{}
	for name, dev := range devices {
		all[name] = strings.Fields(b.sh("sha256sum /dev/" + dev))[0]
	}
	return all
}

// TestBackupsOfARunningVM runs through the life of one guest.
func TestBackupsOfARunningVM(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2", "plain": "raw"}, func(b *bench, cfg *vm.Config) {
		cfg.Disks[1].Throttle = vm.Throttle{Rate: vm.GiB} // there is a filter above its format then
	})
	b.start()
	r := &runningBench{bench: b, dir: filepath.Join(t.TempDir(), "backups")}
	for _, c := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"generations", r.generations},
		{"one moment", r.oneMoment},
		{"paused", r.paused},
		{"frozen", r.frozen},
		{"cancelled", r.cancelled},
		{"process killed", r.processKilled},
		{"without space", r.withoutSpace},
		{"a layer", r.layer},
		{"restart", r.restart},
		{"QEMU killed", r.killed},
	} {
		b.t = t
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			c.run(t)
		})
		b.t = t
	}
}

type runningBench struct {
	*bench
	dir string
}

// proved backs up, and compares with what the guest reads.
func (r *runningBench) proved(t *testing.T, want map[string]bool) snapshot.Backup {
	t.Helper()
	got, err := r.Backup(patience(t), r.id, r.dir)
	require.NoError(t, err)
	require.True(t, got.Live)
	require.Equal(t, want, whole(got), "%+v", got)
	require.Equal(t, r.seen(), restored(t, r.dir, got.Number, vm.FormatRaw))
	r.requireTidy(r.dir)
	r.requireNothingInQEMU(t)
	return got
}

// requireNothingInQEMU checks that a backup leaves nothing but its bitmaps in QEMU.
func (r *runningBench) requireNothingInQEMU(t *testing.T) {
	t.Helper()
	conn, err := r.vms.QMP(t.Context(), r.id)
	require.NoError(t, err)
	jobs, err := qapi.QueryJobs(patience(t), conn)
	require.NoError(t, err)
	require.Empty(t, jobs)
	nodes, err := qapi.QueryNamedBlockNodes(patience(t), conn, true)
	require.NoError(t, err)
	bitmaps := 0
	for _, n := range nodes {
		require.False(t, strings.HasPrefix(n.NodeName, "maqet-backup-"), n.NodeName)
		if !n.RO { // those of images below layers can't be removed
			bitmaps += len(n.DirtyBitmaps)
		}
	}
	require.Equal(t, len(r.disks), bitmaps)
}

var (
	allWhole  = map[string]bool{"root": true, "data": true, "plain": true}
	noneWhole = map[string]bool{"root": false, "data": false, "plain": false}
)

func (r *runningBench) generations(t *testing.T) {
	var want []map[string]string
	for i := range 3 {
		r.scribble(8*i+8, 10)
		want = append(want, r.seen())
		wholes := noneWhole
		if i == 0 {
			wholes = allWhole
		}
		got := r.proved(t, wholes)
		t.Logf("backup %d took %v", got.Number, got.Took)
	}
	for i := range want {
		require.Equal(t, want[i], restored(t, r.dir, i+1, ""))
	}
	require.NoError(t, snapshot.VerifyBackup(patience(t), r.dir))
}

// oneMoment: the guest writes while backups are made; each shows all disks as they were at one
// moment between its beginning and its end.
func (r *runningBench) oneMoment(t *testing.T) {
	stop, last := r.writing(), 0
	for range 5 {
		got, err := r.Backup(patience(t), r.id, r.dir)
		require.NoError(t, err)
		require.Equal(t, noneWhole, whole(got))
		to := t.TempDir()
		paths, err := snapshot.RestoreBackup(patience(t), r.dir, snapshot.RestoreSpec{Dir: to, Format: vm.FormatRaw})
		require.NoError(t, err)
		first, second := lastWritten(t, paths["root"]), lastWritten(t, paths["data"])
		require.Contains(t, []int{0, 1}, first-second, "%d and %d", first, second)
		require.Greater(t, first, last, "the guest does not write")
		last = first
	}
	t.Logf("%d of %s writes are in the last backup", last, stop())
	r.proved(t, noneWhole)
}

func (r *runningBench) paused(t *testing.T) {
	r.scribble(3, 2)
	conn, err := r.vms.QMP(t.Context(), r.id)
	require.NoError(t, err)
	require.NoError(t, qapi.Stop(patience(t), conn))
	_, err = r.vms.Wait(patience(t), r.id, vm.Paused)
	require.NoError(t, err)
	got, err := r.Backup(patience(t), r.id, r.dir)
	require.NoError(t, err)
	require.False(t, got.Frozen)
	_, err = r.Backup(patience(t), r.id, r.dir, snapshot.MustFreeze())
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	inst, err := r.vms.Get(t.Context(), r.id)
	require.NoError(t, err)
	require.Equal(t, vm.Paused, inst.State)
	require.NoError(t, qapi.Cont(patience(t), conn))
	_, err = r.vms.Wait(patience(t), r.id, vm.Running)
	require.NoError(t, err)
	require.Equal(t, r.seen(), restored(t, r.dir, 0, ""))
}

func (r *runningBench) cancelled(t *testing.T) {
	r.scribble(1, 120)
	before := files(t, r.dir)
	ctx, cancel := context.WithCancel(patience(t))
	defer cancel()
	var begun time.Time
	var progress []snapshot.Progress
	_, err := r.Backup(ctx, r.id, r.dir, snapshot.BackupRate(slow), snapshot.OnProgress(func(p snapshot.Progress) {
		progress = append(progress, p)
		if p.Step == "copy" && begun.IsZero() {
			begun = time.Now()
			cancel()
		}
	}))
	require.ErrorIs(t, err, context.Canceled)
	t.Logf("cancelled within %v", time.Since(begun))
	require.Less(t, time.Since(begun), 10*time.Second)
	last := progress[len(progress)-1]
	require.Less(t, last.Done, last.Total)
	r.settled()
	require.Equal(t, before, files(t, r.dir))
	r.requireNothingInQEMU(t)
}

// processKilled: our process is killed at each step, and in the middle of the copy.
func (r *runningBench) processKilled(t *testing.T) {
	count := len(r.steps(r.dir))
	for step := 1; step <= count; step++ {
		r.scribble(step, 2)
		r.killedAt(r.dir, step)
		r.scribble(step+count, 2)
		r.proved(t, noneWhole)
	}
	r.scribble(1, 120)
	r.killedAt(r.dir, 0)
	r.scribble(60, 1) // while QEMU goes on with the copy
	conn, err := r.vms.QMP(t.Context(), r.id)
	require.NoError(t, err)
	jobs, err := qapi.QueryJobs(patience(t), conn)
	require.NoError(t, err)
	require.Len(t, jobs, len(r.disks))
	r.proved(t, noneWhole)
}

// withoutSpace: the guest goes on when the copy has no space any more.
func (r *runningBench) withoutSpace(t *testing.T) {
	disk := smallDisk(t, "40m")
	dir := filepath.Join(disk, "backups")
	_, err := r.Backup(patience(t), r.id, dir)
	require.NoError(t, err)
	r.scribble(1, 40)
	before, filler := files(t, dir), filepath.Join(disk, "filler")
	r.onStep = func(_ context.Context, step string) {
		if step == "backup: start" {
			require.ErrorIs(t, fill(filler), syscall.ENOSPC)
		}
	}
	stop := r.writing()
	_, err = r.Backup(patience(t), r.id, dir)
	r.onStep = nil
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, before, files(t, dir))
	require.NotEmpty(t, stop(), "the guest writes no more")
	inst, err := r.vms.Wait(patience(t), r.id, vm.Running)
	require.NoError(t, err)
	require.Equal(t, vm.Running, inst.State)
	require.NoError(t, os.Remove(filler))
	got, err := r.Backup(patience(t), r.id, dir)
	require.NoError(t, err)
	require.Equal(t, noneWhole, whole(got))
	require.Equal(t, r.seen(), restored(t, dir, 0, ""))
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, r.ForgetBackups(patience(t), r.id))
	r.proved(t, allWhole)
}

// layer: an external snapshot puts new images over the disks, and takes them away again.
func (r *runningBench) layer(t *testing.T) {
	r.scribble(2, 2)
	_, err := r.Create(patience(t), r.id, "before", snapshot.DiskOnly(), snapshot.NoFreeze())
	require.NoError(t, err)
	r.scribble(4, 2)
	got := r.proved(t, allWhole)
	require.Contains(t, got.Disks[0].Why, "a new layer")
	r.scribble(6, 2)
	r.proved(t, noneWhole)
	require.NoError(t, r.Delete(patience(t), r.id, "before"))
	r.scribble(8, 2)
	r.proved(t, allWhole)
	r.scribble(10, 2)
	r.proved(t, noneWhole)
}

// restart: what is written to qcow2 disks is known over a clean stop, also what is written while
// the VM is not live.
func (r *runningBench) restart(t *testing.T) {
	r.scribble(12, 2)
	r.stop()
	for disk := range r.disks {
		r.write(disk, "3M 100k", 5)
	}
	got := r.requireSound(r.dir)
	require.Equal(t, map[string]bool{"root": false, "data": false, "plain": true}, whole(got))
	r.start()
	r.scribble(14, 2)
	r.proved(t, map[string]bool{"root": false, "data": false, "plain": true})
}

// killed: QEMU is killed in the middle of a backup.
func (r *runningBench) killed(t *testing.T) {
	r.scribble(1, 60)
	before := files(t, r.dir)
	inst, err := r.vms.Get(t.Context(), r.id)
	require.NoError(t, err)
	_, err = r.Backup(patience(t), r.id, r.dir, snapshot.BackupRate(slow), snapshot.OnProgress(func(p snapshot.Progress) {
		if p.Step == "copy" {
			_ = syscall.Kill(inst.Runtime.Process.PID, syscall.SIGKILL)
		}
	}))
	require.ErrorIs(t, err, errors.ErrSnapshotCreation)
	require.Equal(t, before, files(t, r.dir))
	_, err = r.vms.Wait(patience(t), r.id, vm.Stopped, vm.Failed)
	require.NoError(t, err)
	r.start()
	got := r.proved(t, allWhole)
	require.Contains(t, got.Disks[0].Why, "QEMU was killed")
	r.stop()
	r.requireSound(r.dir)
}
