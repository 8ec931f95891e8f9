package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// maxIncrements is how many files can stand on each other: each makes reading slower, and
// storage takes images with at most 200 below them.
const maxIncrements = 100

// backupRun is one backup in the making.
type backupRun struct {
	*operation
	folder *backupFolder
	source *backupSource
	result Backup
	disks  []diskBackup
}

// diskBackup is what becomes of one disk.
type diskBackup struct {
	*sourceDisk
	BackupDisk
	since  string // the bitmap that says what to copy; empty: everything
	job    string
	target string // node
}

// prefix begins the names of this folder's bitmaps; without a folder, of all.
func (f *backupFolder) prefix() string {
	if f.Chain == "" {
		return bitmapPrefix
	}
	return bitmapPrefix + f.Chain + "-"
}

// plan decides what is copied of each disk, and checks that there is space for it.
func (b *backupRun) plan(ctx context.Context) error {
	if err := b.source.look(ctx); err != nil {
		return err
	}
	number, attempt := len(b.folder.Backups)+1, randomHex(4)
	b.result = Backup{Number: number, VM: b.inst.ID, Name: b.inst.Name, Live: b.source.live}
	for i := range b.source.disks {
		d := diskBackup{sourceDisk: &b.source.disks[i]}
		d.BackupDisk = BackupDisk{Name: d.Image.Name, File: backupFile(d.Image.Name, number),
			Size: d.node.Image.VirtualSize, Bitmap: b.folder.prefix() + attempt}
		if _, err := b.folder.root.Lstat(d.File); !errors.Is(err, fs.ErrNotExist) {
			return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: b.what, VM: b.inst.Name,
				Msg: "the folder holds a file " + d.File + " already, which belongs to no backup", Hint: "move it away", Err: err}
		}
		d.job = fmt.Sprintf("%s%s-%d", backupJobs, attempt, i)
		d.target = fmt.Sprintf("%s%d", backupNodes, i)
		if last, ok := b.folder.last(d.Image.Name); ok {
			if d.Why = b.distrust(d.sourceDisk, last); d.Why == "" {
				d.since, d.Base = last.Bitmap, last.File
			}
		} else {
			d.Why = "it is the first of the disk in this folder"
		}
		b.disks = append(b.disks, d)
	}
	return b.space(ctx)
}

// distrust says why a disk has to be copied whole, although it was copied before; "" if it
// has not.
func (b *backupRun) distrust(d *sourceDisk, last BackupDisk) string {
	if b.full {
		return "it was asked for"
	}
	if size := d.node.Image.VirtualSize; size != last.Size {
		return fmt.Sprintf("the disk's size has changed, from %d to %d bytes", last.Size, size)
	}
	if info, err := b.folder.root.Lstat(last.File); err != nil || info.Size() != last.Bytes {
		return "the file that it would stand on, " + last.File + ", is missing or has changed"
	}
	if b.folder.depth(last) >= maxIncrements {
		return fmt.Sprintf("%d files stand on each other", maxIncrements)
	}
	bitmap, ok := d.bitmap(last.Bitmap)
	switch {
	case !ok && !d.keepsBitmaps():
		return "what was written to a raw disk is not known any more once its QEMU has ended"
	case !ok:
		return "what was written since is not known: the disk has other contents or a new layer, or QEMU was killed"
	case bitmap.Inconsistent:
		return "what was written since is not known: QEMU was killed"
	case bitmap.Busy || !bitmap.Recording:
		return "what was written since is not known: somebody else uses the bitmap " + last.Bitmap
	}
	return ""
}

// depth is how many files a file stands on.
func (m *manifest) depth(d BackupDisk) int {
	base := map[string]string{}
	for _, b := range m.Backups {
		for _, d := range b.Disks {
			base[d.File] = d.Base
		}
	}
	n := 0
	for file := d.Base; file != ""; file = base[file] {
		n++
	}
	return n
}

// space refuses a backup for which the folder's file system has not enough left.
func (b *backupRun) space(ctx context.Context) error {
	var need int64
	for _, d := range b.disks {
		if bitmap, ok := d.bitmap(d.since); ok {
			need += bitmap.Count
			continue
		}
		size, err := measured(ctx, d.Image)
		if err != nil {
			b.log.DebugContext(ctx, "a disk can't be measured for its backup", "vm", b.inst.Name, "disk", d.Image.Name, "error", err)
			continue // whether there is space enough will show
		}
		need += size
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(b.folder.path, &fs); err != nil {
		return err
	}
	free := int64(fs.Bavail) * fs.Bsize
	if need <= free {
		return nil
	}
	return &BlockedError{Op: b.what, VM: b.inst.Name, Blockers: []Blocker{{
		Reason: fmt.Sprintf("there is not enough space: %d bytes are to be copied, and %d are free", need, free),
		Fix:    "free some, or choose another folder"}}}
}

// measured is how many bytes a whole copy of an image takes, at most: what it holds in other
// ways, such as internal snapshots, is not copied.
func measured(ctx context.Context, img vm.Image) (int64, error) {
	out, err := storage.NewRunner().Run(ctx, "measure", "-U", "--output=json", "-f", img.Format, "-O", vm.FormatQcow2, "--", img.Path)
	if err != nil {
		return 0, err
	}
	var size struct {
		Required int64 `json:"required"`
	}
	return size.Required, json.Unmarshal(out, &size)
}
