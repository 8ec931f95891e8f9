package imagelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// own is a byte that no QEMU program locks, far behind theirs. What maqet does with an image
// beyond running QEMU programs is settled there: its lock is exclusive for who is about to
// write the image, and shared for who makes something that stands on it.
const own = 0x6d617165

// Exclude claims the image at path for somebody who is about to have it written. It keeps
// away everyone who calls Exclude or Share, in this process and others, and no QEMU program.
// [ErrHeld] at once if there is one already.
func Exclude(path string) (*Hold, error) {
	return take(path, os.O_RDWR, unix.F_WRLCK, own)
}

// Share claims the image at path for somebody who makes something that stands on it. It keeps
// away who calls Exclude. [ErrHeld] at once if somebody has.
func Share(path string) (*Hold, error) {
	return take(path, os.O_RDONLY, unix.F_RDLCK, own)
}

// Read claims the image at path as a QEMU program does that reads it, for somebody who reads
// it without one: no QEMU program can open it for writing. [ErrHeld] at once if one has.
func Read(path string) (*Hold, error) {
	// Lock first and look then, as QEMU does: of two that meet, at least one sees the other.
	h, err := take(path, os.O_RDONLY, unix.F_RDLCK, held+consistentRead, unshared+write, unshared+resize)
	if err != nil {
		return nil, err
	}
	if Of(path) == Writing {
		h.Release()
		return nil, ErrHeld
	}
	return h, nil
}

// ExcludeFile is [Exclude] for a file that is open for writing. The claim ends when the file
// is closed.
func ExcludeFile(f *os.File) error { return lock(f, unix.F_WRLCK, own) }

// Excluded reports whether somebody has the claim of [Exclude] on the image at path. It takes
// none, so that it is in nobody's way.
func Excluded(path string) bool {
	f, err := open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_RDLCK, Start: own, Len: 1}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l) == nil && l.Type != unix.F_UNLCK
}

// take opens the image and locks bytes of it, again if another file has taken its place in
// between.
func take(path string, flags int, kind int16, bytes ...int64) (*Hold, error) {
	for {
		f, err := os.OpenFile(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		for _, b := range bytes {
			if err = lock(f, kind, b); err != nil {
				break
			}
		}
		if err == nil && Current(f, path) {
			return &Hold{file: f}, nil
		}
		_ = f.Close() // nothing was written
		if err != nil {
			return nil, err
		}
	}
}

// Current reports whether f is still the file at path. One that can't be told is.
func Current(f *os.File, path string) bool {
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	was, statErr := f.Stat()
	return err != nil || statErr != nil || os.SameFile(was, now)
}

// lock locks a byte of an open file. On a file system without such locks it does nothing: an
// image is looked at there as if nobody used it, too.
func lock(f *os.File, kind int16, at int64) error {
	l := unix.Flock_t{Type: kind, Start: at, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return ErrHeld
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return nil
	}
	return err
}
