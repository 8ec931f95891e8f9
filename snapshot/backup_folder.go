package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/vm"
)

// The files of a folder of backups, besides the images.
const (
	manifestFile = "backup.json"
	pendingFile  = "backup.pending" // is there while a backup is made; see pendingBackup
	lockFile     = "backup.lock"
	unfinished   = ".new" // what the first two are called until they are whole
)

// manifestFormat is the version of the manifest's layout.
const manifestFormat = 1

// manifest is what a folder of backups says of itself.
type manifest struct {
	Format  int      `json:"format"`
	VM      string   `json:"vm"`    // the VM's ID
	Chain   string   `json:"chain"` // sets this folder's bitmaps apart from those of others
	Backups []Backup `json:"backups"`
}

// last returns what was last copied of a disk, and whether there is any.
func (m *manifest) last(disk string) (BackupDisk, bool) {
	for _, b := range slices.Backward(m.Backups) {
		for _, d := range b.Disks {
			if d.Name == disk {
				return d, true
			}
		}
	}
	return BackupDisk{}, false
}

// files are the images that belong to backups.
func (m *manifest) files() []string {
	var files []string
	for _, b := range m.Backups {
		for _, d := range b.Disks {
			files = append(files, d.File)
		}
	}
	return files
}

// check refuses a manifest that nobody can have written but by mistake or malice: names lead
// nowhere else, a file stands on one of an earlier backup of the same disk or on none, and the
// folder's bitmaps are its own.
func (m *manifest) check() error {
	if m.Format != manifestFormat {
		return fmt.Errorf("it has the format %d, and this maqet knows %d", m.Format, manifestFormat)
	}
	if !chainName.MatchString(m.Chain) {
		return fmt.Errorf("it has the chain %q", m.Chain)
	}
	disks := map[string]string{} // by the files seen so far
	for i, b := range m.Backups {
		if b.Number != i+1 {
			return fmt.Errorf("backup %d has the number %d", i+1, b.Number)
		}
		for _, d := range b.Disks {
			if d.Name == "" || strings.ContainsAny(d.Name, "/:") || strings.HasPrefix(d.Name, ".") || d.File != backupFile(d.Name, b.Number) {
				return fmt.Errorf("backup %d has a file %q of disk %q", b.Number, d.File, d.Name)
			}
			if _, twice := disks[d.File]; twice {
				return fmt.Errorf("backup %d has the disk %q twice", b.Number, d.Name)
			}
			if d.Base != "" && disks[d.Base] != d.Name {
				return fmt.Errorf("file %q is to stand on %q, which is of no earlier backup of disk %q", d.File, d.Base, d.Name)
			}
			disks[d.File] = d.Name
		}
	}
	return nil
}

// chainName is what manifest.Chain looks like.
var chainName = regexp.MustCompile(`^[0-9a-f]+$`)

// backupFile is the name of a disk's image of one generation.
func backupFile(disk string, number int) string {
	return fmt.Sprintf("%s.%d.%s", disk, number, vm.FormatQcow2)
}

// pendingBackup is what is written down before a backup is begun: whose files and bitmaps are
// to be removed if it is cut off.
type pendingBackup struct {
	Chain string   `json:"chain"`
	Files []string `json:"files"`
}

// backupFolder is a folder of backups that is locked.
type backupFolder struct {
	manifest
	path string // absolute
	root *os.Root
	lock *flock.Lock
	made bool // by this call
}

// openBackups opens, or makes, a folder for backups of the operation's VM.
func (op *operation) openBackups(ctx context.Context, dir string) (_ *backupFolder, err error) {
	refuse := func(why, hint string, cause error) error {
		return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: op.what, VM: op.inst.Name, Msg: why, Hint: hint, Err: cause}
	}
	if dir == "" {
		return nil, refuse("the folder's name is empty", "", nil)
	}
	f := &backupFolder{}
	if f.path, err = filepath.Abs(dir); err != nil {
		return nil, refuse("", "", err)
	}
	images := filepath.Dir(op.r.ImagesDir())
	if rel, err := filepath.Rel(images, f.path); err == nil && filepath.IsLocal(rel) {
		return nil, refuse("the folder is in "+images+", which is for the images of VMs", "choose another one", nil)
	}
	if _, err := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) {
		f.made = true
	}
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return nil, refuse("the folder can't be made", "", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.root, err = os.OpenRoot(f.path); err != nil {
		return nil, refuse("the folder can't be opened", "", err)
	}
	if err := f.onlyOurs(); err != nil {
		return nil, refuse("the folder can't be used", "give an empty one, or a new one", err)
	}
	if f.lock, err = flock.Wait(ctx, filepath.Join(f.path, lockFile)); err != nil {
		return nil, errors.Wrap(errors.ErrDatabaseLock, "lock folder "+f.path, "", err)
	}
	if err := f.read(); err != nil {
		return nil, refuse(manifestFile+" can't be used", "choose another folder", err)
	}
	if f.VM != "" && f.VM != op.inst.ID {
		return nil, refuse("the folder holds backups of the VM with the ID "+f.VM, "choose another one", nil)
	}
	f.Format, f.VM = manifestFormat, op.inst.ID
	return f, nil
}

// onlyOurs refuses a folder without a manifest in which somebody else keeps files.
func (f *backupFolder) onlyOurs() error {
	if _, err := f.root.Lstat(manifestFile); err == nil {
		return nil
	}
	pending, err := f.pending()
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return err
	}
	ours := append(pending.Files, lockFile, pendingFile, pendingFile+unfinished, manifestFile+unfinished)
	for _, e := range entries {
		if !slices.Contains(ours, e.Name()) {
			return fmt.Errorf("it holds %q, and no backups", e.Name())
		}
	}
	return nil
}

// read reads the manifest, or begins one.
func (f *backupFolder) read() error {
	err := f.load(manifestFile, &f.manifest)
	if errors.Is(err, fs.ErrNotExist) {
		pending, err := f.pending()
		f.Chain = pending.Chain // whose bitmaps are to be removed
		if f.Chain == "" {
			f.Chain = randomHex(6)
		}
		return err
	}
	if err != nil {
		return err
	}
	return f.check()
}

func (f *backupFolder) pending() (p pendingBackup, err error) {
	if err = f.load(pendingFile, &p); errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil && !chainName.MatchString(p.Chain) {
		err = fmt.Errorf("%s has the chain %q", pendingFile, p.Chain)
	}
	for _, name := range p.Files {
		if err == nil && (filepath.Base(name) != name || filepath.Ext(name) != "."+vm.FormatQcow2) {
			err = fmt.Errorf("%s names %q", pendingFile, name)
		}
	}
	return p, err
}

// begin writes down which files a backup is going to make.
func (f *backupFolder) begin(files []string) error {
	return f.save(pendingFile, pendingBackup{Chain: f.Chain, Files: files})
}

// clear removes what a backup that was cut off, or given up, has left.
func (f *backupFolder) clear() error {
	p, err := f.pending()
	if err != nil {
		return err
	}
	var written manifest // perhaps more than is known here: it may have come about, and not for sure
	if err := f.load(manifestFile, &written); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := written.files()
	for _, name := range append(p.Files, pendingFile+unfinished, manifestFile+unfinished) {
		if slices.Contains(known, name) {
			continue
		}
		if err := f.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := f.root.Remove(pendingFile); err != nil && !errors.Is(err, fs.ErrNotExist) { // last: it names the others
		return err
	}
	return nil
}

// add makes a backup exist.
func (f *backupFolder) add(b Backup) error {
	next := f.manifest
	next.Backups = append(slices.Clone(next.Backups), b)
	if err := f.save(manifestFile, next); err != nil {
		return err
	}
	f.manifest = next
	return nil
}

// close unlocks the folder. One that was made for a backup that did not come about is removed.
func (f *backupFolder) close() error {
	var err error
	if f.made && len(f.Backups) == 0 && f.lock != nil {
		err = f.lock.Remove()
		_ = os.Remove(f.path) // which fails if there is something in it
	} else {
		err = f.lock.Unlock()
	}
	if f.root != nil {
		err = errors.Join(err, f.root.Close())
	}
	return err
}

func (f *backupFolder) load(name string, into any) error {
	data, err := f.root.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// save writes a file whole, or leaves what was there: also over a power failure.
func (f *backupFolder) save(name string, what any) error {
	data, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	if err := f.root.Remove(name + unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.root.OpenFile(name+unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := f.root.Rename(name+unfinished, name); err != nil {
		return err
	}
	return f.sync()
}

// sync puts the folder's names on the disk.
func (f *backupFolder) sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
