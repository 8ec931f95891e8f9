package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// OrphanKind says why a file is an orphan.
type OrphanKind string

// Values of OrphanKind.
const (
	OrphanOwnerGone    OrphanKind = "owner-gone"   // the VM that it was made for is no more
	OrphanUnfinished   OrphanKind = "unfinished"   // who was making it died: it is of no worth
	OrphanUnregistered OrphanKind = "unregistered" // it lies below the root folder, and nobody knows why
)

// Orphan is a file that nobody takes care of.
type Orphan struct {
	// File is what is registered. Of a file that is not, only the path is known.
	File
	Why       OrphanKind `json:"why"`
	Allocated int64      `json:"allocated"` // what the file takes on the host, in bytes
}

// settling is how long an empty file that is not registered may be one that is just being made.
const settling = time.Minute

// Orphans lists, by path, the registered files whose owner is no more, those that a killed
// process has left unfinished, and files below the root folder that are not registered.
// owners returns the IDs of all VMs that exist; it is asked once, when the registry has been
// read, so that VMs that are added meanwhile do no harm. Files of no VM are nobody's orphans.
//
// What to do with an orphan is for the caller to decide: [Manager.Delete] it if it is registered,
// or [Manager.Attach] it to a VM. errors.ErrStorage.
func (m *Manager) Orphans(ctx context.Context, owners func(context.Context) ([]string, error)) ([]Orphan, error) {
	list, err := m.orphans(ctx, owners)
	return list, storageError("list orphaned images", err)
}

func (m *Manager) orphans(ctx context.Context, owners func(context.Context) ([]string, error)) ([]Orphan, error) {
	found, err := m.walkRoot(ctx) // first: what is made meanwhile is not seen, and no orphan
	if err != nil {
		return nil, err
	}
	files, err := m.files.Files(ctx, FileFilter{})
	if err != nil {
		return nil, err
	}
	known, err := owners(ctx)
	if err != nil {
		return nil, err
	}
	alive := map[string]bool{"": true}
	for _, id := range known {
		alive[id] = true
	}
	var list []Orphan
	for _, f := range files {
		info, err := os.Lstat(f.Path)
		delete(found, f.Path)
		if err != nil {
			continue // gone: see Verify
		}
		switch {
		case f.Unfinished && imagelock.Excluded(f.Path): // its maker lives
		case f.Unfinished:
			list = append(list, Orphan{f, OrphanUnfinished, allocated(info)})
		case !alive[f.Owner]:
			list = append(list, Orphan{f, OrphanOwnerGone, allocated(info)})
		}
	}
	for path := range found {
		orphan, err := m.unregistered(ctx, path)
		if err != nil {
			return nil, err
		}
		if orphan != nil {
			list = append(list, *orphan)
		}
	}
	slices.SortFunc(list, func(a, b Orphan) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

// walkRoot returns the regular files below the root folder.
func (m *Manager) walkRoot(ctx context.Context) (map[string]bool, error) {
	found := map[string]bool{}
	// As a file system, because the root folder itself may be a symbolic link.
	err := fs.WalkDir(os.DirFS(m.root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist): // it has gone meanwhile
			return nil
		case err != nil:
			return err
		case d.Type().IsRegular():
			found[filepath.Join(m.root, path)] = true
		}
		return nil
	})
	return found, err
}

// unregistered looks again at a file that was not registered: it can have been about to be, or
// to go.
func (m *Manager) unregistered(ctx context.Context, path string) (*Orphan, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 && time.Since(info.ModTime()) < settling {
		return nil, nil
	}
	files, err := m.files.Files(ctx, FileFilter{Path: path})
	if err != nil || len(files) > 0 {
		return nil, err
	}
	return &Orphan{File: File{Path: path}, Why: OrphanUnregistered, Allocated: allocated(info)}, nil
}
