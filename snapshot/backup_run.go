package snapshot

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// do makes the backup that is planned. What fails, or is given up, is undone.
func (b *backupRun) do(ctx context.Context) (_ Backup, err error) {
	begun := time.Now()
	files := make([]string, len(b.disks))
	for i, d := range b.disks {
		files[i] = d.File
	}
	b.keeper.step(ctx, "backup: note")
	if err := b.folder.begin(files); err != nil {
		return Backup{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.undo(ctx))
		}
	}()
	if err := b.copy(ctx); err != nil {
		return Backup{}, err
	}
	b.keeper.step(ctx, "backup: close")
	if err := b.closeTargets(ctx); err != nil {
		return Backup{}, err
	}
	if err := b.seal(ctx); err != nil {
		return Backup{}, err
	}
	b.result.Took = time.Since(begun)
	b.keeper.step(ctx, "backup: list")
	if ctx.Err() != nil { // from here on it is too late
		return Backup{}, context.Cause(ctx)
	}
	if err := b.folder.add(b.result); err != nil {
		return Backup{}, err
	}
	b.settle(ctx)
	return b.result, nil
}

// copy makes the files and has QEMU fill them.
func (b *backupRun) copy(ctx context.Context) error {
	for i := range b.disks {
		b.keeper.step(ctx, "backup: file")
		if err := b.makeTarget(ctx, &b.disks[i]); err != nil {
			return err
		}
	}
	ctx, full := b.watchSpace(ctx)
	defer full()
	all := jobs{conn: b.source.conn, step: "copy", start: b.begin}
	if b.progress != nil {
		all.tell = b.tell
	}
	for _, d := range b.disks {
		all.ids = append(all.ids, d.job)
	}
	return all.follow(ctx)
}

// makeTarget makes a file and opens it in QEMU. What it stands on need not be opened: it is
// written in whole clusters only, because QEMU copies at least that much at a time.
func (b *backupRun) makeTarget(ctx context.Context, d *diskBackup) error {
	file, err := b.folder.root.OpenFile(d.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	path := filepath.Join(b.folder.path, d.File)
	args := []string{"create", "-q", "-f", vm.FormatQcow2}
	if d.Base != "" { // relative to the new file; -u: it need not be opened
		args = append(args, "-u", "-F", vm.FormatQcow2, "-b", d.Base)
	}
	args = append(args, "--", path, strconv.FormatInt(d.Size, 10))
	if _, err := storage.NewRunner().Run(ctx, args...); err != nil {
		return err
	}
	return qapi.BlockdevAdd(ctx, b.source.conn, qapi.BlockdevOptions{Driver: vm.FormatQcow2, NodeName: d.target,
		Backing: &qapi.BlockdevRef{},
		File:    &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{Driver: "file", Filename: path}}})
}

// begin starts the jobs, at one moment.
func (b *backupRun) begin(ctx context.Context) error {
	var err error
	b.result.Frozen, err = b.whileFrozen(ctx, func(ctx context.Context) error {
		b.keeper.step(ctx, "backup: start")
		err := qapi.Transaction(ctx, b.source.conn, b.actions(), nil)
		b.result.Created = time.Now().UTC()
		return err
	})
	return err
}

// actions begin new bitmaps and start to copy. The bitmaps of before are read, and neither
// changed nor stopped: if this backup comes to nothing the next one copies by them. The new
// bitmaps come first, so that no write falls between them and the copy.
func (b *backupRun) actions() []qapi.TransactionAction {
	var bitmaps, copies []qapi.TransactionAction
	manual := false
	for _, d := range b.disks {
		bitmaps = append(bitmaps, qapi.TransactionAction{Type: qapi.TransactionActionKindBlockDirtyBitmapAdd,
			Data: qapi.BlockDirtyBitmapAddArgs{Node: d.node.NodeName, Name: d.Bitmap, Persistent: d.keepsBitmaps()}})
		args := qapi.BlockdevBackupArgs{JobID: d.job, Device: d.node.NodeName, Target: d.target, AutoDismiss: &manual, Speed: b.rate,
			Sync: qapi.MirrorSyncModeFull, OnTargetError: qapi.BlockdevOnErrorEnospc}
		if d.since != "" {
			args.Sync, args.Bitmap, args.BitmapMode = qapi.MirrorSyncModeBitmap, d.since, qapi.BitmapSyncModeNever
		}
		copies = append(copies, qapi.TransactionAction{Type: qapi.TransactionActionKindBlockdevBackup, Data: args})
	}
	return append(bitmaps, copies...)
}

// watchSpace ends a context, with syscall.ENOSPC, when a job has halted: they do so for lack of
// space only.
func (b *backupRun) watchSpace(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	sub := b.source.conn.Subscribe(qapi.EventBlockJobError)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range sub.C() {
			if b.halted(ev) {
				cancel(&errors.Error{Kind: errors.ErrStorage, Op: "write to " + b.folder.path, Err: syscall.ENOSPC,
					Hint: "free some space, and back up again"})
			}
		}
	}()
	return ctx, func() {
		sub.Close()
		<-done
		cancel(nil)
	}
}

func (b *backupRun) halted(ev qmp.Event) bool {
	var failure qapi.BlockJobErrorEvent
	if ev.Decode(&failure) != nil || failure.Action != qapi.BlockErrorActionStop {
		return false
	}
	for _, d := range b.disks {
		if d.job == failure.Device {
			return true
		}
	}
	return false
}
