//go:build linux

package initramfs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/artifact"
	"github.com/maqet/maqet/internal/ldso"
)

// layout is part of the cache key: it changes when the same Builder gives another
// archive than before.
const layout = "initramfs 2"

// Builder says what goes into an initial RAM disk. It is a value that Build does not
// change; it is safe to build several at once.
type Builder struct {
	// Init is the path of a static program for /init.
	Init string
	// Modules is the folder of the kernel's modules, .../lib/modules/VERSION. Empty: the
	// kernel has everything built in.
	Modules string
	// Version of the kernel. Empty: the last element of Modules.
	Version string
	// Extra are names of more modules to bring along, with what they need. They load
	// on demand, like the default set.
	Extra []string
	// Busybox is the path of a static busybox. Empty: the host's, or none when it has
	// none that is static; "none": none. It may be for another architecture.
	Busybox string
	// Files are added last: path in the guest -> file or folder of the host. Modes are
	// kept, everything belongs to root.
	Files map[string]string
	// CacheDir is maqet's cache folder; archives are kept in its initramfs/.
	CacheDir string
}

// Build returns the path of the archive. It is made at the first call, in about 50
// ms, and again when an input changes; other calls take 0.2 ms. One of several
// callers that want the same one makes it, in whatever process they are.
//
// A missing module that is required, a file that does not exist, a library that is not
// found: errors.ErrInvalidConfiguration. When it fails nothing is kept.
func (b Builder) Build(ctx context.Context) (string, error) {
	if b.Version == "" && b.Modules != "" {
		b.Version = filepath.Base(b.Modules)
	}
	cache := artifact.Cache{Dir: filepath.Join(b.CacheDir, "initramfs")}
	b.CacheDir = "" // not part of the key
	key, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	return cache.File(ctx, artifact.Recipe{
		Key:    fmt.Sprint(layout, required, onDemand, string(key)),
		Suffix: ".cpio",
		Make: func(ctx context.Context, w io.Writer, inputs *artifact.Inputs) error {
			return b.write(ctx, w, inputs)
		},
	})
}

func (b Builder) write(ctx context.Context, w io.Writer, inputs *artifact.Inputs) error {
	t := newTree()
	if err := addBase(t); err != nil {
		return err
	}
	if err := inputs.Add(b.Init); err != nil {
		return err
	}
	if err := t.host("init", b.Init, 0o755); err != nil {
		return invalid("add init", err)
	}
	if err := b.addModules(t, inputs); err != nil {
		return err
	}
	if err := b.addBusybox(t, inputs); err != nil {
		return err
	}
	if err := b.addFiles(ctx, t, inputs); err != nil {
		return err
	}
	return t.write(ctx, w)
}

// addFiles adds the user's files, sorted, and what their programs need.
func (b Builder) addFiles(ctx context.Context, t *tree, inputs *artifact.Inputs) error {
	libs := newLinker(t, inputs)
	for _, guest := range slices.Sorted(maps.Keys(b.Files)) {
		host := b.Files[guest]
		if !path.IsAbs(guest) || path.Clean(guest) == "/" {
			return invalid("add "+host, errors.New("the path in the guest, "+guest+", must be absolute and name a file"))
		}
		if err := inputs.Add(host); err != nil {
			return invalid("add "+guest, err)
		}
		root, err := filepath.EvalSymlinks(host)
		if err != nil {
			return invalid("add "+guest, err)
		}
		add := func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			return addHostFile(t, libs, inputs, path.Join(guest, filepath.ToSlash(rel)), p, d)
		}
		if err := filepath.WalkDir(root, add); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return invalid("add "+guest, err)
		}
	}
	return nil
}

// newLinker brings libraries of the host into the archive. It does not look at LD_LIBRARY_PATH:
// the guest does not have it.
func newLinker(t *tree, inputs *artifact.Inputs) *ldso.Linker {
	return &ldso.Linker{Add: func(guest, host string, mode uint32) (bool, error) {
		if t.has(guest) {
			return false, nil
		}
		if err := inputs.Add(host); err != nil {
			return false, err
		}
		return true, t.host(guest, host, mode)
	}}
}

func addHostFile(t *tree, libs *ldso.Linker, inputs *artifact.Inputs, guest, host string, d fs.DirEntry) error {
	if err := inputs.Add(host); err != nil {
		return err
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case 0:
		if err := t.host(guest, host, unixMode(info.Mode())); err != nil {
			return err
		}
		return libs.Need(guest, host)
	case fs.ModeDir:
		return t.folder(guest, unixMode(info.Mode()))
	case fs.ModeSymlink:
		target, err := os.Readlink(host)
		if err != nil {
			return err
		}
		return t.link(guest, target)
	default:
		return &fs.PathError{Op: "add", Path: host, Err: errors.New("neither a file nor a folder nor a link")}
	}
}

func invalid(op string, err error) error {
	return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "build initramfs: " + op, Err: err}
}
