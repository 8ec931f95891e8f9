package snapshot

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// TemplateImages is what templates need of the images of their disks. storage.Manager
// implements it.
type TemplateImages interface {
	// Root is the folder of the images.
	Root() string
	// Link gives an image a second name and owner.
	Link(ctx context.Context, spec storage.LinkSpec) (storage.File, error)
	// Overlay makes an overlay; see vm.Images.
	Overlay(ctx context.Context, spec storage.OverlaySpec) (storage.Image, error)
	// Files returns the registered files that f selects.
	Files(ctx context.Context, f storage.FileFilter) ([]storage.File, error)
	// Delete removes an image that maqet made.
	Delete(ctx context.Context, path string) error
}

// Identities makes guests that continue from a template somebody of their own. guest.Manager
// implements it.
type Identities interface {
	// Individualize gives the guest new random numbers, the present time, and what id says.
	Individualize(ctx context.Context, ref string, id vm.Identity) error
}

// TemplatesOptions are what a [Templates] is made of.
type TemplatesOptions struct {
	Dir    string         // of the templates; it is made, with mode 0700, when it is needed. Required.
	Images TemplateImages // required
	// Identities returns who gives forks an identity; it is asked when one is started. Nil, or
	// if it returns nil: only forks that are Alike can be started.
	Identities func() Identities
	Logger     *slog.Logger // nil: nothing is logged
}

// Templates keeps templates: each in a folder by its name, and its disks among storage's
// images. It is the vm.Templates of a vm.Manager, safe for concurrent use, also together with
// those of other processes on the same folder.
type Templates struct {
	dir        string
	images     TemplateImages
	identities func() Identities
	log        *slog.Logger
	self       vm.Process

	mu       sync.Mutex
	memories map[string]*os.File // of the ephemeral templates of this process, by ID
	closed   bool
}

var _ vm.Templates = (*Templates)(nil)

// NewTemplates puts a Templates together. It reads and makes nothing.
func NewTemplates(o TemplatesOptions) (*Templates, error) {
	if o.Dir == "" || o.Images == nil {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "keep templates", Msg: "a folder and images are required"}
	}
	self, err := proc.Self()
	if err != nil {
		return nil, errors.Wrap(errors.ErrMaqet, "keep templates", "", err)
	}
	t := &Templates{dir: o.Dir, images: o.Images, identities: o.Identities, log: o.Logger, self: vm.Process(self), memories: map[string]*os.File{}}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.identities == nil {
		t.identities = func() Identities { return nil }
	}
	return t, nil
}

// Folders of the folder of templates whose names are nobody's: no template's begins with a dot.
const (
	newPrefix  = ".new-"  // being captured; ends with the template's ID
	gonePrefix = ".gone-" // being deleted
	locksDir   = ".locks"
	makerLock  = "maker.lock" // held by who captures
)

func (t *Templates) folder(name string) string { return filepath.Join(t.dir, name) }

// lock takes the lock of a template's name.
func (t *Templates) lock(ctx context.Context, name string) (*flock.Lock, error) {
	dir := filepath.Join(t.dir, locksDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return flock.Wait(ctx, filepath.Join(dir, name+".lock"))
}

// checkTemplateName refuses what is no name of a VM either.
func checkTemplateName(name string) error {
	if name == "" {
		return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "template name", Msg: "is empty", Hint: "give the template a name"}
	}
	err := vm.Config{Name: name}.Validate()
	return errors.Wrap(errors.ErrInvalidConfiguration, "template name", "", err)
}

// read returns what is recorded of a template that is there.
func (t *Templates) read(name string) (*templateRecord, error) {
	if err := checkTemplateName(name); err != nil {
		return nil, err
	}
	rec, err := readTemplate(t.folder(name))
	if err == nil && !rec.alive() {
		err = os.ErrNotExist
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, &errors.Error{Kind: errors.ErrTemplateNotFound, Op: "find template " + name, Hint: t.names()}
	}
	return rec, errors.Wrap(errors.ErrSnapshot, "find template "+name, "", err)
}

// readToDelete is read, also for a template that can't be used any more.
func (t *Templates) readToDelete(name string) (*templateRecord, error) {
	rec, err := t.read(name)
	if !errors.Is(err, errors.ErrTemplateMismatch) {
		return rec, err
	}
	if rec, err = readTemplate(t.folder(name)); rec == nil {
		return nil, err
	}
	rec.Name = name
	if _, err := uuid.Parse(rec.ID); err != nil {
		rec.ID = uuid.NewString() // nothing has that
	}
	return rec, nil
}

func (t *Templates) names() string {
	list, err := t.list()
	if err != nil || len(list) == 0 {
		return "there is none"
	}
	names := make([]string, 0, namesShown)
	for _, rec := range list[:min(len(list), namesShown)] {
		names = append(names, rec.Name)
	}
	return "there are " + strings.Join(names, ", ")
}

// list returns the templates that are there, ordered by name. One that can't be read is passed
// over, and logged.
func (t *Templates) list() ([]*templateRecord, error) {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errors.Wrap(errors.ErrSnapshot, "list templates", "", err)
	}
	var out []*templateRecord
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		rec, err := readTemplate(t.folder(e.Name()))
		switch {
		case err == nil && rec.alive():
			out = append(out, rec)
		case err != nil && !errors.Is(err, os.ErrNotExist):
			t.log.Warn("template not read", "template", e.Name(), "error", err)
		}
	}
	slices.SortFunc(out, func(a, b *templateRecord) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// keep remembers the memory of an ephemeral template, which goes with this process.
func (t *Templates) keep(id string, memory *os.File) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.New("the templates were closed")
	}
	t.memories[id] = memory
	return nil
}

// forget lets go of it.
func (t *Templates) forget(id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.memories[id]
	delete(t.memories, id)
	if f == nil {
		return nil
	}
	return f.Close()
}

// Close deletes the ephemeral templates that were captured through it. Guests that stand on
// them must have ended. It is idempotent.
func (t *Templates) Close() error {
	t.mu.Lock()
	again := t.closed
	t.closed = true
	t.mu.Unlock()
	if again {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit) // Close takes none
	defer cancel()
	list, err := t.list()
	errs := []error{err}
	slices.SortFunc(list, func(a, b *templateRecord) int { return b.Created.Compare(a.Created) }) // children first
	for _, rec := range list {
		if rec.Lifetime == vm.Ephemeral && rec.Owner == t.self {
			errs = append(errs, later(t.remove(ctx, rec)))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, f := range t.memories {
		errs = append(errs, f.Close())
		delete(t.memories, id)
	}
	return errors.Join(errs...)
}

// remove deletes a template. Its lock, if others can know it, must be held.
func (t *Templates) remove(ctx context.Context, rec *templateRecord) error {
	gone := filepath.Join(t.dir, gonePrefix+rec.ID)
	if err := os.Rename(t.folder(rec.Name), gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(t.forget(rec.ID), t.erase(ctx, rec.ID, gone))
}

// erase deletes what is left of a template: the folder last, so that whoever comes next knows.
// Images that a persistent fork, or another template, stands on stay until that is gone.
func (t *Templates) erase(ctx context.Context, id, dir string) error {
	files, err := t.images.Files(ctx, storage.FileFilter{Owner: id})
	errs := []error{err}
	for _, f := range files {
		errs = append(errs, t.images.Delete(ctx, f.Path))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// disksOver returns the registered images that stand on those of a template.
func (t *Templates) disksOver(ctx context.Context, id string) (over []storage.File, err error) {
	disks, err := t.images.Files(ctx, storage.FileFilter{Owner: id})
	if err != nil {
		return nil, err
	}
	for _, d := range disks {
		files, err := t.images.Files(ctx, storage.FileFilter{Base: d.Path})
		if err != nil {
			return nil, err
		}
		over = append(over, files...)
	}
	return over, nil
}

// later is nil for images that are still in use: a sweep deletes them when they are not.
func later(err error) error {
	if errors.Is(err, errors.ErrImageInUse) {
		return nil
	}
	return err
}

// Sweep deletes what processes that are gone have left: their ephemeral templates, and those
// that were being captured or deleted. It returns the names, or IDs where no name is known, of
// what it has deleted.
func (t *Templates) Sweep(ctx context.Context) (removed []string, err error) {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	errs := []error{err}
	for _, e := range entries {
		what, err := t.sweep(ctx, e.Name())
		if err == nil && what != "" {
			removed = append(removed, what)
		}
		errs = append(errs, errors.Wrap(errors.ErrSnapshot, "sweep template "+e.Name(), "", later(err)))
	}
	return removed, errors.Join(errs...)
}

// sweep deletes a folder if nobody needs it any more, and returns what it was.
func (t *Templates) sweep(ctx context.Context, name string) (string, error) {
	dir := t.folder(name)
	if id, ok := strings.CutPrefix(name, gonePrefix); ok {
		return id, t.erase(ctx, id, dir)
	}
	if id, ok := strings.CutPrefix(name, newPrefix); ok {
		lock, err := flock.Try(filepath.Join(dir, makerLock))
		if errors.Is(err, flock.ErrHeld) || errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		return id, errors.Join(t.erase(ctx, id, dir), lock.Unlock())
	}
	if strings.HasPrefix(name, ".") {
		return "", nil
	}
	lock, err := t.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }() // nothing is lost with it
	return t.bury(ctx, name)
}

// bury deletes a template whose process is gone, and returns its name. Its lock must be held.
func (t *Templates) bury(ctx context.Context, name string) (string, error) {
	rec, err := readTemplate(t.folder(name))
	if err != nil || rec.alive() {
		return "", nil // a folder of somebody else stays
	}
	return rec.Name, t.remove(ctx, rec)
}
