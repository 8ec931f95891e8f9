package storage

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// reflink makes to share its blocks with from (ioctl_ficlone(2)). It fails where the file
// system can't.
func reflink(to, from *os.File) error {
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
}

// nextData returns where data begins at or after from, and where it ends (lseek(2), SEEK_DATA);
// both are size if there is none. Where a file system does not know, all is data.
func nextData(f *os.File, from, size int64) (start, end int64, err error) {
	start, err = f.Seek(from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP), errors.Is(err, fs.ErrInvalid):
		return from, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = f.Seek(start, unix.SEEK_HOLE)
	return min(start, size), min(end, size), err
}
