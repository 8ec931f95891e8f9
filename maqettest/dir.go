package maqettest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
)

// Folders of guests in tests. They lie directly in the temporary folder because
// tb.TempDir has long paths, which leave no room for the names of sockets.
const (
	dirPrefix = "maqet-test-"
	newPrefix = "maqet-new-"
	ownerFile = "owner.lock"
)

// dir is a folder that goes with the process at the latest. A guardian sees to that; folders
// that it left, because it was killed as well, are removed by the next newDir: those whose lock,
// which ends with the process, is free.
type dir struct {
	path  string
	lock  *flock.Lock
	guard *guardian
}

func newDir() (*dir, error) {
	sweepDirs()
	fresh, err := os.MkdirTemp("", newPrefix)
	if err != nil {
		return nil, err
	}
	d := &dir{path: filepath.Join(filepath.Dir(fresh), dirPrefix+strings.TrimPrefix(filepath.Base(fresh), newPrefix))}
	d.lock, err = flock.Try(filepath.Join(fresh, ownerFile))
	if err == nil {
		err = os.Rename(fresh, d.path) // only now may a sweep see it
	}
	if err == nil {
		d.path, err = filepath.Abs(d.path)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(fresh), d.lock.Unlock())
	}
	// Without a guardian, where there is no shell, the next sweep has to do.
	d.guard, _ = guard(d.path)
	return d, nil
}

// remove removes the folder with what is in it.
func (d *dir) remove() error {
	err := os.RemoveAll(d.path)
	d.guard.end()
	return errors.Join(err, d.lock.Unlock())
}

// sweepDirs removes folders of tests that are gone. It does what it can: a folder of
// another user, or one that another test is removing, is passed over.
func sweepDirs() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || !ownedByMe(info) {
			continue
		}
		lock, err := flock.Try(filepath.Join(dir, ownerFile))
		if err != nil {
			continue
		}
		_ = os.RemoveAll(dir)
		_ = lock.Unlock()
	}
}
