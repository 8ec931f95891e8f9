package snapshot

import (
	"context"
	"strconv"
	"time"

	"github.com/maqet/maqet/errors"
)

// Backup is a backup of a VM's writable disks as they were at one moment: one generation of
// those in a folder. It is a copy.
type Backup struct {
	Number  int           `json:"number"` // its generation; the first is 1
	VM      string        `json:"vm"`     // the VM's ID
	Name    string        `json:"name"`   // and its name then
	Created time.Time     `json:"created"`
	Took    time.Duration `json:"took"`
	// Live is true when the VM was live, and Frozen when its file systems were frozen at that
	// moment. Of a live one without, the disks are what a power failure would leave.
	Live   bool `json:"live"`
	Frozen bool `json:"frozen"`
	// Disks has a row for each, in the order of the configuration.
	Disks []BackupDisk `json:"disks"`
}

// BackupDisk is a disk's part of a Backup: a qcow2 file in the folder.
type BackupDisk struct {
	Name string `json:"name"`
	File string `json:"file"` // its name in the folder
	// Base is the file that File stands on, and has what did not change; empty: File is whole.
	Base string `json:"base,omitempty"`
	// Why says why File is whole, where it is.
	Why    string `json:"why,omitempty"`
	Size   int64  `json:"size"`             // of the disk, in bytes
	Bytes  int64  `json:"bytes"`            // of the file
	SHA256 string `json:"sha256,omitempty"` // of the file, in hexadecimal; empty: it was not asked for
	// Bitmap is the dirty bitmap that has recorded, since, what the next one copies.
	Bitmap string `json:"bitmap"`
}

// Backup copies the writable disks of a VM, live or not, as they are at one moment, into a
// folder of the host. The first call into a folder copies the disks whole; the next ones copy
// what was written since, in files that stand on those of the calls before. A disk is copied
// whole again when what was written since is not known, and BackupDisk.Why says why. The guest
// goes on meanwhile; its file systems are frozen for the moment if its agent answers.
//
// The folder is made, with mode 0700, if it is missing; else it must be empty, or hold
// backups of this VM, and be outside of the folder of maqet's images. It is locked meanwhile.
// Nothing in it is ever overwritten. It holds backup.json, which lists the backups, and a
// file NAME.N.qcow2 of each disk and generation. A backup exists once backup.json lists it:
// what is cut off before leaves files that the next call removes. Folders can be moved, and
// each has bitmaps of its own in the VM's disks: backups into several don't disturb each
// other.
//
// What is written to a raw disk is only recorded as long as its QEMU lives; to a qcow2 one
// also while the VM is not live, unless its QEMU was killed. See QEMU, "Dirty Bitmaps and
// Incremental Backup".
//
// What encrypted disks hold would lie open in the folder: a VM with one is refused, unless
// [PlainText] says that it may.
//
// Errors: errors.ErrSnapshotBlocked, a [*BlockedError], before anything is done: no writable
// disk, an encrypted one, or not enough space for what is known to be copied; errors.ErrInvalidConfiguration
// for a folder that can't be used; errors.ErrAgentUnavailable with MustFreeze; else
// errors.ErrSnapshotCreation, with syscall.ENOSPC if the folder's disk has become full. Then,
// and when ctx ends, nothing of the backup is left, and the next one copies what this one
// would have. When ctx ends just as the backup is listed it may exist all the same: [Backups]
// says so.
func (c *Coordinator) Backup(ctx context.Context, ref, dir string, opts ...Option) (Backup, error) {
	ctx, op, err := c.begin(ctx, onBackup, "back up to "+strconv.Quote(dir), ref, opts)
	if err != nil {
		return Backup{}, err
	}
	return work(ctx, op, func(ctx context.Context) (Backup, error) {
		b, err := op.backup(ctx, dir)
		if err == nil || errors.Is(err, errors.ErrSnapshotBlocked) || errors.Is(err, errors.ErrInvalidConfiguration) {
			return b, err
		}
		return Backup{}, errors.Wrap(errors.ErrSnapshotCreation, op.what, op.inst.Name, err)
	})
}

func (op *operation) backup(ctx context.Context, dir string) (_ Backup, err error) {
	if err := op.refuseEncrypted(); err != nil {
		return Backup{}, err
	}
	folder, err := op.openBackups(ctx, dir)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = op.alsoFailed(ctx, err, folder.close()) }()
	source, err := op.source(ctx)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = op.alsoFailed(ctx, err, source.close()) }()
	run := &backupRun{operation: op, folder: folder, source: source}
	if err := run.clearLeftovers(ctx); err != nil {
		return Backup{}, err
	}
	if err := run.plan(ctx); err != nil {
		return Backup{}, err
	}
	return run.do(ctx)
}

// alsoFailed adds what went wrong in the end to an error. It is not one by itself: the backup
// exists. At worst the next one copies the disks whole, and says so.
func (op *operation) alsoFailed(ctx context.Context, err, more error) error {
	if err == nil && more != nil {
		op.log.WarnContext(ctx, "a backup was made, but not all of it closed well", "vm", op.inst.Name, "error", more)
		return nil
	}
	return errors.Join(err, more)
}

// ForgetBackups removes all that the disks of a VM, live or not, record for its next backups:
// the next one into each folder copies them whole. It is for when folders were deleted, and what
// is recorded for them would go on taking space.
func (c *Coordinator) ForgetBackups(ctx context.Context, ref string) error {
	ctx, op, err := c.begin(ctx, 0, "forget backups", ref, nil)
	if err != nil {
		return err
	}
	_, err = work(ctx, op, func(ctx context.Context) (struct{}, error) {
		source, err := op.source(ctx)
		if err != nil {
			return struct{}{}, err
		}
		run := &backupRun{operation: op, source: source, folder: &backupFolder{}}
		return struct{}{}, errors.Join(run.clearQEMU(ctx), source.close())
	})
	return errors.Wrap(errors.ErrSnapshot, op.what, op.r.Instance().Name, err)
}
