package storage

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// Options says how a Manager works.
type Options struct {
	// Root is the folder below which images are created and deleted; it is made, with
	// mode 0700, when it is needed. Required.
	Root string
	// Runner runs qemu-img. Nil: the program that MAQET_QEMU_IMG names, else qemu-img
	// from PATH.
	Runner Runner
	// Registry records what is made. Nil: a registry in memory, which forgets with the Manager.
	Registry Registry
	// Logger gets what is created and deleted. Nil: nothing is logged.
	Logger *slog.Logger
}

// Manager makes, inspects and deletes disk images. It is safe for concurrent use.
type Manager struct {
	root   string
	runner Runner
	files  Registry
	log    *slog.Logger
	share  func(to, from *os.File) error // makes a file share another one's blocks
}

// NewManager returns a manager of the images below opts.Root.
func NewManager(opts Options) (*Manager, error) {
	if opts.Root == "" {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "manage images", Msg: "Options.Root is empty"}
	}
	root, err := filepath.Abs(opts.Root)
	if err != nil {
		return nil, errors.Wrap(errors.ErrStorage, "manage images", "", err)
	}
	m := &Manager{root: root, runner: opts.Runner, files: ownFiles{opts.Registry}, log: opts.Logger, share: reflink}
	if opts.Registry == nil {
		m.files = new(MemoryRegistry)
	}
	if m.runner == nil {
		m.runner = program{}
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m, nil
}

// absolute returns path as qemu-img can take it: an absolute path begins with a slash,
// so that nothing in it is taken for an option or for a protocol such as "nbd:" or
// "json:" (path_has_protocol in QEMU's block.c).
func absolute(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("the path is empty")
	case strings.ContainsRune(path, 0):
		return "", errors.New("the path contains a zero byte")
	}
	return filepath.Abs(path)
}

// local returns path relative to the root folder, and fails if it is not below it.
func (m *Manager) local(path string) (string, error) {
	abs, err := absolute(path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(m.root, abs)
	if err != nil || rel == "." || !filepath.IsLocal(rel) {
		return "", errors.New("the path is not below " + m.root)
	}
	return rel, nil
}

// ErrUnregistered says that a file is not maqet's to delete.
var ErrUnregistered = errors.New("it is not registered: maqet did not make it")

// Delete removes an image that a Manager with this registry made. One that is already
// gone is no error. A file that is not registered is refused, unless it is empty:
// [ErrUnregistered]. So is anything but a regular file, and a path that leads out of the root
// folder, by itself or through symbolic links: errors.ErrStorage. One that a registered image
// of another VM, or of none, stands on is errors.ErrImageInUse, and so is one that a QEMU program
// has open, or that is being worked on, with who holds it.
func (m *Manager) Delete(ctx context.Context, path string) error {
	err := ctx.Err()
	if err == nil {
		err = m.remove(ctx, path)
	}
	return storageError("delete image "+quote(path), err)
}

// unused claims a file that is about to be deleted: nobody has it open, works on it, or begins
// to make something that stands on it.
func unused(path string) (*imagelock.Hold, error) {
	if err := closed(path); err != nil {
		return nil, err
	}
	hold, err := excluded(path)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) { // what is write-protected can be deleted
		return nil, nil
	}
	return hold, err
}

func (m *Manager) remove(ctx context.Context, path string) error {
	rel, err := m.local(path)
	if err != nil {
		return err
	}
	path = filepath.Join(m.root, rel)
	root, err := os.OpenRoot(m.root)
	if errors.Is(err, fs.ErrNotExist) {
		return m.forget(ctx, path)
	}
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m.forget(ctx, path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is " + describe(info.Mode()))
	}
	known, err := m.files.Files(ctx, FileFilter{Path: path})
	if err != nil {
		return err
	}
	if len(known) == 0 && info.Size() > 0 {
		return ErrUnregistered
	}
	hold, err := unused(path)
	if err != nil {
		return err
	}
	defer hold.Release()
	if len(known) > 0 {
		if err := m.noForeignOverlays(ctx, known[0]); err != nil {
			return err
		}
	}
	if err := root.Remove(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.log.DebugContext(ctx, "image deleted", "path", path)
	prune(root, filepath.Dir(rel))
	return m.forget(ctx, path)
}

// prune removes the folders that held an image, as far as they are empty now: they were
// made for it.
func prune(root *os.Root, dir string) {
	for dir != "." && root.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}

// Files returns the registered files that f selects, ordered by path, whether or not they
// are still there.
func (m *Manager) Files(ctx context.Context, f FileFilter) ([]File, error) {
	list, err := m.files.Files(ctx, f)
	return list, errors.Wrap(errors.ErrStorage, "list registered images", "", err)
}

// describe says what a file is that is not a regular one.
func describe(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder, not an image"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link, not an image"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO, not an image"
	case mode&fs.ModeSocket != 0:
		return "a socket, not an image"
	case mode&fs.ModeDevice != 0:
		return "a device, not an image"
	}
	return "not a regular file"
}
