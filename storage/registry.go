package storage

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// FileKind is what a file is for.
type FileKind string

// Values of FileKind.
const (
	KindDisk    FileKind = "disk"    // an image of its own
	KindOverlay FileKind = "overlay" // the layer of a VM over an image that others can use
	KindLayer   FileKind = "layer"   // what an external snapshot put over a disk
	KindMemory  FileKind = "memory"  // holds the memory of snapshots, for VMs whose disks can't
	KindISO     FileKind = "iso"
	KindBackup  FileKind = "backup"
)

// File is a file that the manager made, as it is registered.
type File struct {
	Path    string    `json:"path"`            // absolute; of another host, what that host's backend makes of it
	Host    string    `json:"host,omitempty"`  // the backend on whose host it is; empty: this host
	Owner   string    `json:"owner,omitempty"` // ID of the VM it was made for, or attached to; empty: of none
	Disk    string    `json:"disk,omitempty"`  // name of that VM's disk, if it is one's
	Kind    FileKind  `json:"kind"`
	Format  string    `json:"format"` // FormatRaw or FormatQcow2
	Size    int64     `json:"size"`   // virtual size in bytes, when it was made or last changed; 0: not known
	Base    string    `json:"base,omitempty"`
	Created time.Time `json:"created"`
	// Unfinished is true until the image is whole. Where its maker died before that, there is
	// nothing of worth in it, unless somebody has it locked: see [Manager.Orphans].
	Unfinished bool `json:"unfinished,omitempty"`
}

// as returns f with the kind that it has by the way it is made, unless another is stated.
func (f For) as(kind FileKind) For {
	f.Kind = cmp.Or(f.Kind, kind)
	return f
}

// file returns what to register of an image.
func (f For) file(path string, img Image) File {
	return File{Path: path, Owner: f.Owner, Disk: f.Disk, Kind: f.Kind, Format: img.Format, Size: img.Size,
		Base: img.Base, Created: time.Now().UTC()}
}

// FileFilter selects files; the zero FileFilter selects all. What is set must all hold.
type FileFilter struct {
	Path  string
	Owner string
	Base  string // files that stand on this one
}

// Matches reports whether f selects file.
func (f FileFilter) Matches(file File) bool {
	return (f.Path == "" || f.Path == file.Path) && (f.Owner == "" || f.Owner == file.Owner) &&
		(f.Base == "" || f.Base == file.Base)
}

// Registry records the files that a [Manager] makes. Only a file that is recorded is ever
// deleted. Implementations are safe for concurrent use; one that keeps a file also by
// processes. vm/sqlite.Store and vm/memory.Store are Registries.
type Registry interface {
	// PutFile records a file, instead of what was recorded of its path.
	PutFile(ctx context.Context, file File) error
	// Files returns what f selects, ordered by path.
	Files(ctx context.Context, f FileFilter) ([]File, error)
	// DropFile forgets a path; one that is not recorded is no error.
	DropFile(ctx context.Context, path string) error
}

// ownFiles is a registry as far as it is about files of this host: others are none of a [Manager]'s.
type ownFiles struct{ Registry }

func (o ownFiles) Files(ctx context.Context, f FileFilter) ([]File, error) {
	list, err := o.Registry.Files(ctx, f)
	return slices.DeleteFunc(list, func(f File) bool { return f.Host != "" }), err
}

// MemoryRegistry is a Registry in memory. The zero value is empty and ready for use.
type MemoryRegistry struct {
	mu    sync.Mutex
	files map[string]File
}

var _ Registry = (*MemoryRegistry)(nil)

// PutFile implements Registry.
func (r *MemoryRegistry) PutFile(ctx context.Context, file File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		r.files = map[string]File{}
	}
	r.files[file.Path] = file
	return nil
}

// Files implements Registry.
func (r *MemoryRegistry) Files(ctx context.Context, f FileFilter) ([]File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Path != "" {
		if file, ok := r.files[f.Path]; ok && f.Matches(file) {
			return []File{file}, nil
		}
		return nil, nil
	}
	var list []File
	for _, file := range r.files {
		if f.Matches(file) {
			list = append(list, file)
		}
	}
	slices.SortFunc(list, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return list, nil
}

// DropFile implements Registry.
func (r *MemoryRegistry) DropFile(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.files, path)
	return nil
}
