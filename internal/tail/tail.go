//go:build linux

// Package tail reads files that grow, such as a guest's console log, and waits for
// more by inotify. Files are never followed through a symbolic link in the last part
// of their path.
package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/inotify"
)

// folderMask has the events by which a file can appear under its name.
const folderMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DONT_FOLLOW

// fileMask has the events after which an open file is worth another look: content
// was added or cut off, or the last name was removed (IN_ATTRIB).
const fileMask = unix.IN_MODIFY | unix.IN_ATTRIB

// Follower reads a growing file. It is for one goroutine at a time.
type Follower struct {
	path    string
	offset  int64
	watcher *inotify.Watcher
	file    *os.File // nil until the file exists
	watch   int      // of file, while it is open
}

// Open returns a Follower at the beginning of the file at path, which need not exist
// yet; its folder must.
func Open(path string) (*Follower, error) {
	w, err := inotify.New()
	if err != nil {
		return nil, err
	}
	if _, err := w.Add(filepath.Dir(path), folderMask); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &Follower{path: path, watcher: w}, nil
}

// SkipTo makes the next Read begin at offset bytes from the start of the file. An offset
// beyond the end counts as if the file had been cut off.
func (f *Follower) SkipTo(offset int64) { f.offset = offset }

// Read returns what follows in the file, at most len(p) bytes, and waits if there is
// nothing yet. It returns at least one byte or an error; ctx's error when ctx ends.
//
// A file that became shorter than what was read is read from its beginning again. A
// file that was unlinked or replaced is read to its end, and then the next file of
// that name from its beginning.
func (f *Follower) Read(ctx context.Context, p []byte) (int, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, again, err := f.readNow(p)
		if n > 0 || err != nil {
			return n, err
		}
		if again {
			continue
		}
		if _, err := f.watcher.Wait(ctx); err != nil {
			return 0, err
		}
	}
}

// readNow reads what is there without waiting. again means that nothing was read, but
// another try may succeed at once.
func (f *Follower) readNow(p []byte) (n int, again bool, err error) {
	if f.file == nil {
		err := f.openFile()
		if errors.Is(err, fs.ErrNotExist) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
	}
	n, err = f.file.ReadAt(p, f.offset)
	f.offset += int64(n)
	switch {
	case n > 0:
		return n, false, nil // a short read comes with io.EOF, which is no end here
	case err != io.EOF:
		return 0, false, err
	}
	again, err = f.atEnd()
	return 0, again, err
}

// atEnd finds out why there is nothing more to read, and prepares for what comes next.
func (f *Follower) atEnd() (again bool, err error) {
	info, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	switch {
	case info.Size() > f.offset: // it grew since the read
		return true, nil
	case info.Sys().(*syscall.Stat_t).Nlink == 0:
		f.offset = 0
		return true, f.closeFile()
	case info.Size() < f.offset:
		f.offset = 0
		return info.Size() > 0, nil
	}
	return false, nil
}

// openFile opens the file and watches it. The watch is put on the open file, not on
// whatever has its name by then.
func (f *Follower) openFile() error {
	file, err := openRegular(f.path)
	if err != nil {
		return err
	}
	watch, err := f.watcher.Add(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), fileMask)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.watch = file, watch
	return nil
}

func (f *Follower) closeFile() error {
	if f.file == nil {
		return nil
	}
	err := errors.Join(f.watcher.Remove(f.watch), f.file.Close())
	f.file = nil
	return err
}

// Close releases the follower.
func (f *Follower) Close() error { return errors.Join(f.closeFile(), f.watcher.Close()) }

// Follow calls fn with the content of the file at path from offset on, and with what
// is added, until ctx ends, and then returns ctx's error. The slice is valid only
// during the call. The rules are those of [Follower].
func Follow(ctx context.Context, path string, offset int64, fn func([]byte)) error {
	f, err := Open(path)
	if err != nil {
		return err
	}
	f.SkipTo(offset)
	buf := make([]byte, 32<<10)
	for {
		n, err := f.Read(ctx, buf)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		fn(buf[:n])
	}
}

// Last returns the last n bytes of the file at path, all of it if it is shorter.
func Last(path string, n int) ([]byte, error) {
	file, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-int64(n))
	// Limited, because the file may be growing faster than it is read.
	return io.ReadAll(io.NewSectionReader(file, start, info.Size()-start))
}

// openRegular opens a regular file for reading. O_NONBLOCK keeps a FIFO from hanging
// it.
func openRegular(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
