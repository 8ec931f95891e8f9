package vm

import (
	"cmp"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/layered"
)

// read returns what a configuration file holds; ok is false if it can't be read.
func (l *loader) read(path string) (data []byte, ok bool) {
	l.order[path] = len(l.order)
	data, err := readConfigFile(path)
	if err == nil {
		return data, true
	}
	l.broken = true
	p := errors.Problem{File: path}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.missing = true
		p.Message, p.Fix = "does not exist", "correct the path"
		if near := neighbour(path); near != "" {
			p.Nearest, p.Fix = near, "did you mean "+near+"?"
		}
	case errors.Is(err, errNotRegular):
		p.Message, p.Fix = err.Error(), "give a file; vm.ParseConfig takes what comes from elsewhere"
	default:
		p.Message, p.Fix = "can't be read: "+err.Error(), "make it readable, or correct the path"
	}
	l.problems = append(l.problems, p)
	return nil, false
}

var errNotRegular = errors.New("is not a regular file")

// readConfigFile reads a regular file, up to what layered.Parse refuses as too large. It
// does not wait for the writer of a pipe.
func readConfigFile(path string) (data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return io.ReadAll(io.LimitReader(f, layered.MaxBytes+1))
}

// neighbour returns the file in the same folder whose name is nearest to a missing one's.
func neighbour(path string) string {
	dir, base := filepath.Split(path)
	folder, err := os.Open(cmp.Or(dir, "."))
	if err != nil {
		return ""
	}
	defer func() { _ = folder.Close() }()          // it was only read
	names, err := folder.Readdirnames(maxSiblings) // in large folders, the first ones do
	if err != nil {
		return ""
	}
	if near := layered.Nearest(base, names); near != "" {
		return dir + near
	}
	return ""
}

const maxSiblings = 1000
