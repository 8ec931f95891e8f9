package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// What a backup makes in QEMU begins with these. Node names have 31 bytes at most.
const (
	backupJobs  = jobPrefix + "backup-"
	backupNodes = "maqet-backup-"
)

// closeTargets has QEMU close the files. Their contents are on the disk then.
func (b *backupRun) closeTargets(ctx context.Context) error {
	for _, d := range b.disks {
		if err := qapi.BlockdevDel(ctx, b.source.conn, d.target); err != nil {
			return err
		}
	}
	return nil
}

// seal notes what the files are, which nobody writes any more.
func (b *backupRun) seal(ctx context.Context) error {
	var total, done int64
	for _, d := range b.disks {
		info, err := b.folder.root.Lstat(d.File)
		if err != nil {
			return err
		}
		total += info.Size()
	}
	for _, d := range b.disks {
		file, err := b.folder.root.Open(d.File)
		if err != nil {
			return err
		}
		d.SHA256, d.Bytes, err = b.digest(ctx, file, func(n int64) { b.tell(Progress{"check", done + n, total}) })
		if err == nil {
			err = file.Sync()
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return err
		}
		done += d.Bytes
		b.result.Disks = append(b.result.Disks, d.BackupDisk)
	}
	return b.folder.sync()
}

func (b *backupRun) digest(ctx context.Context, file *os.File, tell func(int64)) (sum string, size int64, err error) {
	if b.sumless {
		info, err := file.Stat()
		if err != nil {
			return "", 0, err
		}
		return "", info.Size(), nil
	}
	return digest(ctx, file, tell)
}

// digest returns the SHA-256 and the size of what r has.
func digest(ctx context.Context, r io.Reader, tell func(int64)) (sum string, size int64, err error) {
	hash, buffer := sha256.New(), make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", 0, context.Cause(ctx)
		}
		n, err := r.Read(buffer)
		hash.Write(buffer[:n]) // never fails
		size += int64(n)
		tell(size)
		if err == io.EOF {
			return hex.EncodeToString(hash.Sum(nil)), size, nil
		}
		if err != nil {
			return "", 0, err
		}
	}
}

// settle removes what the backup before needed. What fails here is done by the next one.
func (b *backupRun) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	b.keeper.step(ctx, "backup: settle")
	if err := errors.Join(b.folder.clear(), b.removeBitmaps(ctx)); err != nil {
		b.log.WarnContext(ctx, "a backup is made, and has left something behind", "vm", b.inst.Name, "folder", b.folder.path, "error", err)
	}
}

// undo removes what a backup that has failed made. Its jobs are gone.
func (b *backupRun) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	err := b.clearQEMU(ctx)
	if b.source.conn.Err() != nil {
		err = nil // QEMU is gone, and what it had with it; see bitmapPrefix for what its images have
	}
	return errors.Join(err, b.resume(ctx), b.folder.clear())
}

// resume lets a guest run again that was halted because a file could not take what it was
// about to overwrite (QEMU, "copy-before-write", on-cbw-error). It writes again what it could not.
func (b *backupRun) resume(ctx context.Context) error {
	if !b.source.live || b.inst.State != vm.Running || b.source.conn.Err() != nil {
		return nil
	}
	status, err := qapi.QueryStatus(ctx, b.source.conn)
	if err != nil || status.Status != qapi.RunStateIOError {
		return err
	}
	return qapi.Cont(ctx, b.source.conn)
}

// clearLeftovers removes what a backup that was cut off has left, of this folder and in QEMU.
func (b *backupRun) clearLeftovers(ctx context.Context) error {
	b.keeper.step(ctx, "backup: clear")
	if err := b.clearQEMU(ctx); err != nil {
		return err
	}
	return b.folder.clear()
}

// clearQEMU removes jobs and nodes of backups, and bitmaps that no backup of this folder names.
func (b *backupRun) clearQEMU(ctx context.Context) error {
	ids, err := backupJobsIn(ctx, b.source.conn)
	if err != nil {
		return err
	}
	if err := endBackups(ctx, b.source.conn, ids); err != nil {
		return err
	}
	return b.removeBitmaps(ctx)
}

// endBackups ends what backups of a live VM that were cut off still do in its QEMU. Their files
// are for the next backup into their folder to remove.
func (op *operation) endBackups(ctx context.Context) error {
	guest, err := op.vms.Live(ctx, op.r.Instance().ID)
	if err == nil {
		var ids []string
		if ids, err = backupJobsIn(ctx, guest.QMP()); len(ids) > 0 {
			err = endBackups(ctx, guest.QMP(), ids)
		}
	}
	if errors.Is(err, errors.ErrVMNotRunning) || errors.Is(err, errors.ErrQMPConnection) {
		return nil // they have ended with it
	}
	return err
}

// backupJobsIn returns the ids of the jobs of backups in a QEMU.
func backupJobsIn(ctx context.Context, conn qmp.Conn) (ids []string, err error) {
	list, err := qapi.QueryJobs(ctx, conn)
	for _, job := range list {
		if strings.HasPrefix(job.ID, backupJobs) {
			ids = append(ids, job.ID)
		}
	}
	return ids, err
}

// endBackups cancels jobs of backups, and has QEMU close all files of backups. Nobody follows
// the jobs: who could has the VM's reservation.
func endBackups(ctx context.Context, conn qmp.Conn, ids []string) error {
	for _, id := range ids {
		if err := unlessRefused(qapi.JobCancel(ctx, conn, id)); err != nil { // refused: it has ended
			return err
		}
	}
	if len(ids) > 0 {
		err := jobs{conn: conn, ids: ids}.follow(ctx)
		if err := unlessRefused(err); err != nil && !errors.Is(err, errJobGone) { // refused: it did not end well
			return err
		}
	}
	nodes, err := qapi.QueryNamedBlockNodes(ctx, conn, true)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if strings.HasPrefix(n.NodeName, backupNodes) {
			if err := qapi.BlockdevDel(ctx, conn, n.NodeName); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeBitmaps removes the bitmaps of this folder that its backups don't need any more.
func (b *backupRun) removeBitmaps(ctx context.Context) error {
	if err := b.source.look(ctx); err != nil {
		return err
	}
	var errs []error
	for _, d := range b.source.disks {
		last, _ := b.folder.last(d.Name)
		for _, bitmap := range slices.Clone(d.node.DirtyBitmaps) {
			if strings.HasPrefix(bitmap.Name, b.folder.prefix()) && bitmap.Name != last.Bitmap {
				errs = append(errs, qapi.BlockDirtyBitmapRemove(ctx, b.source.conn,
					qapi.BlockDirtyBitmap{Node: d.node.NodeName, Name: bitmap.Name}))
			}
		}
	}
	return errors.Join(errs...)
}
