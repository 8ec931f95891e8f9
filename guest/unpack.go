package guest

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
)

var (
	// errNotCopied: there is no meaning in copying it between two machines.
	errNotCopied = errors.New("not a file, a folder or a symbolic link")
	errEscapes   = errors.New("the guest sent an entry outside of what was asked for")
)

// stage is a copy on its way to the host: a hidden folder beside the target takes
// everything, and when all has arrived it is moved into place. The stream comes from
// a guest that may be hostile: an entry must lie in a folder that the stream itself made
// before, so that neither ".." nor a link leads anywhere else; an os.Root stands behind.
type stage struct {
	root   *os.Root // the target's parent folder
	dir    string   // the hidden folder's name in it
	target string   // the target's name in it
	name   string   // what the stream calls what was asked for; empty before the first entry
	dirs   []stagedDir
	made   map[string]bool // the folders among the entries so far, by rel
}

// stagedDir is what a folder gets at the very end: until then it must be writable, and
// its time would change again.
type stagedDir struct {
	rel     string // below the target; "." for the target itself
	mode    fs.FileMode
	modTime time.Time
}

func newStage(target string) (*stage, error) {
	root, err := os.OpenRoot(filepath.Dir(target))
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(root.Name(), ".maqet-*")
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return &stage{root: root, dir: filepath.Base(dir), target: filepath.Base(target), made: map[string]bool{}}, nil
}

// remove removes what was not moved into place.
func (s *stage) remove() {
	_ = s.root.RemoveAll(s.dir)
	_ = s.root.Close()
}

// staged is where an entry lies until the commit.
func (s *stage) staged(rel string) string { return path.Join(s.dir, "copy", rel) }

// unpack takes the whole stream, also what follows the archive's end, so that the
// guest can finish writing it.
func (s *stage) unpack(ctx context.Context, from io.Reader) error {
	in := tar.NewReader(contextReader{ctx, from})
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := s.entry(h, in); err != nil {
			return err
		}
	}
	if s.name == "" {
		return errNotCopied // the guest left it out
	}
	_, err := io.Copy(io.Discard, from)
	return err
}

func (s *stage) entry(h *tar.Header, content io.Reader) error {
	rel, err := s.relative(h.Name)
	if err != nil {
		return err
	}
	at := s.staged(rel)
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	switch h.Typeflag {
	case tar.TypeDir:
		s.made[rel] = true
		s.dirs = append(s.dirs, stagedDir{rel, mode, h.ModTime})
		return s.root.Mkdir(at, 0o700)
	case tar.TypeSymlink:
		return s.root.Symlink(h.Linkname, at)
	case tar.TypeLink:
		old, err := s.relative(h.Linkname)
		if err != nil {
			return err
		}
		return s.root.Link(s.staged(old), at)
	case tar.TypeReg:
		return s.file(at, mode, h.ModTime, content)
	default: // a device, a named pipe: left out, as when copying to the guest
		return nil
	}
}

// relative is an entry's path below what was asked for, which the first entry names.
func (s *stage) relative(name string) (string, error) {
	clean := path.Clean(name)
	if s.name == "" {
		s.name = clean
		return ".", nil
	}
	rel, ok := strings.CutPrefix(clean, s.name+"/")
	if s.name == "." {
		rel, ok = clean, true
	}
	if !ok || !filepath.IsLocal(rel) || !s.made[path.Dir(rel)] {
		return "", &fs.PathError{Op: "copy", Path: name, Err: errEscapes}
	}
	return rel, nil
}

func (s *stage) file(at string, mode fs.FileMode, modTime time.Time, content io.Reader) error {
	f, err := s.root.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.root.Chtimes(at, modTime, modTime)
}

// commit moves everything into place.
func (s *stage) commit() error {
	existed := map[string]bool{}
	if err := s.place(".", existed); err != nil {
		return err
	}
	for i := len(s.dirs) - 1; i >= 0; i-- { // folders after what they hold
		d := s.dirs[i]
		if existed[d.rel] {
			continue // it keeps what it has
		}
		at := path.Join(s.target, d.rel)
		if err := s.root.Chmod(at, d.mode); err != nil {
			return err
		}
		if err := s.root.Chtimes(at, d.modTime, d.modTime); err != nil {
			return err
		}
	}
	return nil
}

// place moves one entry, or what it holds where both are folders.
func (s *stage) place(rel string, existed map[string]bool) error {
	from, to := s.staged(rel), path.Join(s.target, rel)
	have, err := s.root.Lstat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return s.root.Rename(from, to)
	}
	if err != nil {
		return err
	}
	got, err := s.root.Lstat(from)
	if err != nil {
		return err
	}
	if have.IsDir() != got.IsDir() {
		return &fs.PathError{Op: "replace", Path: filepath.Join(s.root.Name(), to), Err: fs.ErrExist}
	}
	if !got.IsDir() {
		return s.root.Rename(from, to)
	}
	existed[rel] = true
	entries, err := fs.ReadDir(s.root.FS(), from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.place(path.Join(rel, e.Name()), existed); err != nil {
			return err
		}
	}
	return nil
}
