package maqettest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maqet/maqet/internal/flock"
)

// Folders of guests in tests. They lie directly in the temporary folder because
// tb.TempDir has long paths, which leave no room for the names of sockets.
const (
	dirPrefix = "maqet-test-"
	newPrefix = "maqet-new-"
	ownerFile = "owner.lock"
)

// newDir makes the folder of one guest. Its lock is held as long as the test runs, and
// ends with the process however that ends: folders whose lock is free were left by a
// test that was killed, and are removed here.
func newDir(tb testing.TB) string {
	tb.Helper()
	sweepDirs()
	fresh, err := os.MkdirTemp("", newPrefix)
	if err != nil {
		tb.Fatalf("maqettest: %v", err)
	}
	dir := filepath.Join(filepath.Dir(fresh), dirPrefix+strings.TrimPrefix(filepath.Base(fresh), newPrefix))
	lock, err := flock.Try(filepath.Join(fresh, ownerFile))
	if err == nil {
		err = os.Rename(fresh, dir) // only now may a sweep see it
	}
	if err != nil {
		_ = os.RemoveAll(fresh)
		tb.Fatalf("maqettest: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("maqettest: removing the guest's folder: %v", err)
		}
		_ = lock.Unlock()
	})
	return dir
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
