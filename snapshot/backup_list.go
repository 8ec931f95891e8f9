package snapshot

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Backups lists the backups in a folder, the oldest first. It looks at backup.json only; see
// [VerifyBackup]. A folder without any is errors.ErrSnapshotNotFound.
func Backups(dir string) ([]Backup, error) {
	f, err := readBackups("list backups", dir)
	if err != nil {
		return nil, err
	}
	return f.Backups, f.root.Close()
}

// readBackups opens a folder of backups to read them. Its root must be closed.
func readBackups(op, dir string) (*backupFolder, error) {
	op += " in " + strconv.Quote(dir)
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, errors.Wrap(errors.ErrSnapshot, op, "", err)
	}
	f := &backupFolder{path: path}
	if f.root, err = os.OpenRoot(path); err == nil {
		err = f.load(manifestFile, &f.manifest)
		if err == nil {
			err = f.check()
		}
		if err == nil {
			return f, nil
		}
		err = errors.Join(err, f.root.Close())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &errors.Error{Kind: errors.ErrSnapshotNotFound, Op: op, Msg: "the folder holds no backups", Err: err}
	}
	return nil, errors.Wrap(errors.ErrSnapshot, op, "", err)
}

// VerifyBackup checks all backups in a folder: that each file is there, and of the size that it
// was made with; that it stands on the file that it should and is a sound qcow2 image
// (qemu-img-check(1)); and, where the SHA-256 is known, that it holds what was written. The only
// option is OnProgress, in bytes.
//
// It is errors.ErrSnapshot if something is wrong, and names each file with a fault, as a
// [*storage.ImageError]. Nothing is changed, also while a backup is made.
func VerifyBackup(ctx context.Context, dir string, opts ...Option) error {
	what := "verify backups"
	o, err := collect(onFolder, what, opts)
	if err != nil {
		return err
	}
	f, err := readBackups(what, dir)
	if err != nil {
		return err
	}
	var total, done int64
	for _, b := range f.Backups {
		for _, d := range b.Disks {
			total += d.Bytes
		}
	}
	var faults []error
	for _, b := range f.Backups {
		for _, d := range b.Disks {
			faults = append(faults, f.verify(ctx, d, func(n int64) { o.tell(Progress{"verify", done + n, total}) }))
			done += d.Bytes
			if ctx.Err() != nil {
				return errors.Join(errors.Wrap(errors.ErrSnapshot, what, "", context.Cause(ctx)), f.root.Close())
			}
		}
	}
	return errors.Join(errors.Wrap(errors.ErrSnapshot, what+" in "+strconv.Quote(dir), "", errors.Join(faults...)), f.root.Close())
}

// verify checks one file.
func (f *backupFolder) verify(ctx context.Context, d BackupDisk, tell func(int64)) error {
	if err := f.sound(ctx, d); err != nil {
		return err
	}
	path := filepath.Join(f.path, d.File)
	if _, err := storage.NewRunner().Run(ctx, "check", "-q", "-f", vm.FormatQcow2, "--", path); err != nil {
		return f.fault(d, "is damaged", err)
	}
	if d.SHA256 == "" {
		tell(d.Bytes)
		return nil
	}
	file, err := f.root.Open(d.File)
	if err != nil {
		return f.fault(d, "can't be read", err)
	}
	sum, _, err := digest(ctx, file, tell)
	if err = errors.Join(err, file.Close()); err != nil {
		return f.fault(d, "can't be read", err)
	}
	if sum != d.SHA256 {
		return f.fault(d, fmt.Sprintf("has changed: its SHA-256 was %s and is %s", d.SHA256, sum), nil)
	}
	return nil
}

// sound checks that a file is what the manifest says, as far as its head tells, and so are
// those that it stands on: QEMU follows the names that are written in them.
func (f *backupFolder) sound(ctx context.Context, d BackupDisk) error {
	below, err := f.unchanged(d)
	if err != nil {
		return err
	}
	images, err := storage.NewManager(storage.Options{Root: f.path})
	if err != nil {
		return err
	}
	chain, err := images.Usable(ctx, filepath.Join(f.path, d.File), vm.FormatQcow2, false)
	if err != nil {
		return err
	}
	for i, img := range chain {
		want := ""
		if i+1 < len(below) {
			want = filepath.Join(f.path, below[i+1].File)
		}
		if img.Base != want {
			return f.fault(below[i], fmt.Sprintf("stands on %q, and should on %q", img.Base, want), nil)
		}
	}
	if chain[0].Size != d.Size {
		return f.fault(d, fmt.Sprintf("is an image of %d bytes, and the disk had %d", chain[0].Size, d.Size), nil)
	}
	return nil
}

// unchanged returns a file and those that it is to stand on, the topmost first. It fails unless
// all are there, no symbolic links, and as large as they were made.
func (f *backupFolder) unchanged(d BackupDisk) (chain []BackupDisk, err error) {
	known := map[string]BackupDisk{}
	for _, b := range f.Backups {
		for _, d := range b.Disks {
			known[d.File] = d
		}
	}
	for {
		info, err := f.root.Lstat(d.File)
		if err != nil {
			return nil, f.fault(d, "can't be found", err)
		}
		if !info.Mode().IsRegular() || info.Size() != d.Bytes {
			return nil, f.fault(d, fmt.Sprintf("has changed: it has %d bytes, and was made with %d", info.Size(), d.Bytes), nil)
		}
		chain = append(chain, d)
		if d.Base == "" {
			return chain, nil
		}
		d = known[d.Base] // which check has found to be there, and earlier
	}
}

func (f *backupFolder) fault(d BackupDisk, msg string, err error) error {
	if err != nil {
		msg += ": " + err.Error()
	}
	return &storage.ImageError{Kind: errors.ErrStorage, Path: filepath.Join(f.path, d.File), Msg: msg, Err: err,
		Fix: "bring the file back from a copy, or make a new full backup"}
}
