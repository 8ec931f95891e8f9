package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// RestoreSpec says what to restore of a backup, and where to.
type RestoreSpec struct {
	// Number is the backup's; 0: that of the newest.
	Number int
	// Dir is the folder that gets an image of each disk, NAME.qcow2 or NAME.raw. It is made,
	// with mode 0700, if it is missing. Either it or Paths must be set.
	Dir string
	// Paths restores only these disks, each into an image at the path by its name. Folders are
	// made as Dir is.
	Paths map[string]string
	// Format is vm.FormatQcow2 or vm.FormatRaw, of which holes take no space. Default: qcow2.
	Format string
}

// RestoreBackup writes the disks of a backup into new images, which stand on nothing, with
// mode 0600. It returns their paths by the disks' names. No file is overwritten:
// errors.ErrImageCreation when there is one. They appear when all are whole; when it fails, or ctx
// ends, nothing is left. The only option is OnProgress, in bytes of the disks.
//
// To have a VM use them, name them in its configuration (vm.Disk.Path).
func RestoreBackup(ctx context.Context, dir string, spec RestoreSpec, opts ...Option) (_ map[string]string, err error) {
	what := "restore backup"
	o, err := collect(onFolder, what, opts)
	if err != nil {
		return nil, err
	}
	f, err := readBackups(what, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.root.Close()) }()
	r := restore{backupFolder: f, options: o, format: cmp.Or(spec.Format, vm.FormatQcow2)}
	if err := r.choose(spec); err != nil {
		return nil, err
	}
	if err := r.write(ctx); err != nil {
		return nil, errors.Wrap(errors.ErrImageCreation, fmt.Sprintf("restore backup %d in %q", r.number, dir), "", err)
	}
	paths := map[string]string{}
	for _, t := range r.targets {
		paths[t.Name] = t.path
	}
	return paths, nil
}

// restore is one call of RestoreBackup.
type restore struct {
	*backupFolder
	options
	number  int
	format  string
	targets []restoreTarget
	made    string // the folder of the targets, if it was not there
}

// restoreTarget is an image to write. It is called unfinished until all are whole.
type restoreTarget struct {
	BackupDisk
	path, unfinished string
}

// choose decides what is written, and refuses what can't be.
func (r *restore) choose(spec RestoreSpec) error {
	refuse := func(kind *errors.Kind, msg, hint string) error {
		return &errors.Error{Kind: kind, Op: "restore backup in " + strconv.Quote(r.path), Msg: msg, Hint: hint}
	}
	switch {
	case len(r.Backups) == 0 || spec.Number < 0 || spec.Number > len(r.Backups):
		return refuse(errors.ErrSnapshotNotFound, fmt.Sprintf("there is no backup %d", spec.Number), fmt.Sprintf("it holds %d", len(r.Backups)))
	case r.format != vm.FormatQcow2 && r.format != vm.FormatRaw:
		return refuse(errors.ErrInvalidConfiguration, fmt.Sprintf("format %q is neither qcow2 nor raw", r.format), "")
	case (spec.Dir == "") == (len(spec.Paths) == 0):
		return refuse(errors.ErrInvalidConfiguration, "either Dir or Paths must be set", "")
	}
	r.number = cmp.Or(spec.Number, len(r.Backups))
	paths := maps.Clone(spec.Paths)
	for _, d := range r.Backups[r.number-1].Disks {
		path, chosen := paths[d.Name]
		delete(paths, d.Name)
		if spec.Dir != "" {
			path, chosen = filepath.Join(spec.Dir, d.Name+"."+r.format), true
		}
		if !chosen {
			continue
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		if _, err := os.Lstat(abs); !errors.Is(err, fs.ErrNotExist) {
			return refuse(errors.ErrImageCreation, abs+" is there already, and is not overwritten", "choose another path")
		}
		r.targets = append(r.targets, restoreTarget{d, abs, abs + "." + randomHex(4) + unfinished})
	}
	if len(paths) > 0 {
		return refuse(errors.ErrInvalidConfiguration, fmt.Sprintf("the backup has no disk %q", slices.Sorted(maps.Keys(paths))[0]), "")
	}
	if spec.Dir == "" {
		return nil
	}
	if _, err := os.Lstat(spec.Dir); errors.Is(err, fs.ErrNotExist) {
		r.made = spec.Dir
	}
	return os.MkdirAll(spec.Dir, 0o700)
}

// write writes the images, and then gives them their names.
func (r *restore) write(ctx context.Context) (err error) {
	var named []string
	defer func() {
		for _, t := range r.targets {
			_ = os.Remove(t.unfinished) // which may not be there
		}
		if err != nil {
			for _, path := range named {
				err = errors.Join(err, os.Remove(path))
			}
			if r.made != "" {
				_ = os.Remove(r.made) // unless somebody has put something there
			}
		}
	}()
	var total, done int64
	for _, t := range r.targets {
		total += t.Size
	}
	for _, t := range r.targets {
		err := r.convert(ctx, t, func(n, _ int64) { r.tell(Progress{"restore", done + n, total}) })
		if err != nil {
			return err
		}
		done += t.Size
	}
	r.tell(Progress{"restore", done, total})
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	for _, t := range r.targets {
		if err := os.Link(t.unfinished, t.path); err != nil { // unlike a rename it replaces nothing
			return err
		}
		named = append(named, t.path)
	}
	return syncFolders(named)
}

// convert writes a disk's image.
func (r *restore) convert(ctx context.Context, t restoreTarget, tell func(done, total int64)) error {
	if err := r.sound(ctx, t.BackupDisk); err != nil {
		return err
	}
	images, err := storage.NewManager(storage.Options{Root: filepath.Dir(t.path)}) // which owns nothing else there
	if err != nil {
		return err
	}
	_, err = images.Convert(ctx, storage.ConvertSpec{Source: filepath.Join(r.backupFolder.path, t.File), Format: vm.FormatQcow2,
		Path: t.unfinished, To: r.format, Progress: tell})
	if err != nil {
		return err
	}
	file, err := os.Open(t.unfinished)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close()) // qemu-img leaves it to the host
}

// syncFolders puts names on the disk.
func syncFolders(paths []string) error {
	for _, path := range paths {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return err
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return err
		}
	}
	return nil
}
