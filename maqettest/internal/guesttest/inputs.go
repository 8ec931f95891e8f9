package guesttest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/ldso"
)

// inputs are files and folders to copy to the same path in the guest.
type inputs struct {
	paths   []string
	folders []string // to be made
	libs    []string // files that the guest may have, and then keeps
	staged  string   // a folder of the host with the plain files, in one of Dir's name; empty: none
}

// copyIn brings the program and all it needs.
func (p Program) copyIn(ctx context.Context, g *maqet.Machine, out outputs) (err error) {
	in, err := p.inputs(out)
	if in.staged != "" {
		defer func() { err = errors.Join(err, os.RemoveAll(in.staged)) }()
	}
	if err != nil {
		return errors.Wrap(errors.ErrInvalidConfiguration, "collect the files of "+p.Path, "", err)
	}
	for _, path := range slices.Concat(in.paths, in.libs) {
		in.folders = append(in.folders, filepath.Dir(path))
	}
	slices.Sort(in.folders)
	in.folders = slices.Compact(in.folders)
	if _, err := g.Exec(ctx, append([]string{"mkdir", "-p", "--"}, in.folders...)...); err != nil {
		return err
	}
	missing, err := missing(ctx, g, in.libs)
	if err != nil {
		return err
	}
	for _, path := range append(missing, in.paths...) {
		if err := g.CopyTo(ctx, path, filepath.Dir(path)); err != nil {
			return err
		}
	}
	if in.staged == "" {
		return nil
	}
	return g.CopyTo(ctx, filepath.Join(in.staged, filepath.Base(p.Dir)), filepath.Dir(p.Dir))
}

// missing returns those of the files that the guest does not have: one with a C library of its
// own keeps that.
func missing(ctx context.Context, g *maqet.Machine, files []string) ([]string, error) {
	if len(files) == 0 {
		return nil, nil
	}
	res, err := g.Command(ctx, guest.Command{
		Args: append([]string{"sh", "-c", `for f; do [ -e "$f" ] || echo "$f"; done`, "sh"}, files...),
	})
	return slices.DeleteFunc(strings.Split(string(res.Stdout), "\n"), func(line string) bool { return line == "" }), err
}

func (p Program) inputs(out outputs) (in inputs, err error) {
	in.paths = []string{p.Path}
	in.folders = append([]string{p.Dir}, out.folders()...)
	linker := ldso.Linker{Add: func(guest, _ string, _ uint32) (bool, error) {
		if slices.Contains(in.libs, guest) {
			return false, nil
		}
		in.libs = append(in.libs, guest)
		return true, nil
	}}
	if paths := lookup(p.Env, "LD_LIBRARY_PATH"); paths != "" {
		linker.Paths = strings.Split(paths, ":")
	}
	if err := linker.Need(p.Path, p.Path); err != nil {
		return in, err
	}
	testdata := filepath.Join(p.Dir, "testdata")
	if info, err := os.Stat(testdata); err == nil && info.IsDir() {
		if err := p.checkSize(testdata); err != nil {
			return in, err
		}
		in.paths = append(in.paths, testdata)
	}
	for _, path := range p.Files {
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Dir, path)
		}
		in.paths = append(in.paths, filepath.Clean(path))
	}
	more, err := out.inputs()
	if err != nil {
		return in, err
	}
	in.paths = append(in.paths, more...)
	if p.Plain {
		in.staged, err = p.stage()
	}
	return in, err
}

func (p Program) limit() int64 {
	if p.Limit == 0 {
		return DefaultLimit
	}
	return p.Limit
}

// checkSize refuses a folder that is too large.
func (p Program) checkSize(dir string) error {
	var total, most int64
	var largest string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		if info.Size() >= most {
			most, largest = info.Size(), path
		}
		return nil
	})
	if err == nil && total > p.limit() {
		return fmt.Errorf("%s holds %d MiB, more than the limit of %d MiB; the largest file is %s of %d MiB",
			dir, total>>20, p.limit()>>20, largest, most>>20)
	}
	return err
}

// stage copies the plain files of the working directory to a folder of their own, so that they
// can be copied into the guest at once.
func (p Program) stage() (dir string, err error) {
	entries, err := os.ReadDir(p.Dir)
	if err != nil || p.Dir == "/" {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "maqet-files-"); err != nil {
		return "", err
	}
	to := filepath.Join(dir, filepath.Base(p.Dir))
	if err := os.Mkdir(to, 0o755); err != nil {
		return dir, err
	}
	for _, e := range entries {
		path := filepath.Join(p.Dir, e.Name())
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || path == p.Path {
			continue // a link that leads nowhere is as good as none
		}
		if info.Size() > p.limit() {
			if p.Left != nil {
				p.Left(path, info.Size())
			}
			continue
		}
		if err := copyFile(path, filepath.Join(to, e.Name()), info); err != nil {
			return dir, err
		}
	}
	return dir, nil
}

func copyFile(from, to string, info fs.FileInfo) (err error) {
	src, err := os.Open(from)
	if errors.Is(err, fs.ErrPermission) {
		return nil // the test could not read it here either
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close(), os.Chtimes(to, info.ModTime(), info.ModTime()))
}

// metaFiles is the list of the files that describe the code of packages other than the tested
// one, as "go test -coverpkg" leaves it in the folder of the counters
// (internal/coverage.MetaFilesFileName).
const metaFiles = "metafiles.txt"

// metaFilesIn returns the files that such a list in dir names, if there is one.
func metaFilesIn(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, metaFiles))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list struct{ MetaFileFragments []string }
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, metaFiles), err)
	}
	return list.MetaFileFragments, nil
}
