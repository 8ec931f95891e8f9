package snapshot

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// newMemory makes a file in memory, of a size, that can be sealed.
func newMemory(name string, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// seal has the kernel refuse all that would change a file in memory (fcntl(2), "File Sealing").
// Nobody may have it mapped to write any more.
func seal(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return os.NewSyscallError("fcntl F_ADD_SEALS", err)
}

// copyChunk is after how many bytes a copy looks whether it is given up.
const copyChunk = 16 << 20

// copySparse copies a file into another one of the same size, which is empty: what was never
// written stays a hole.
func copySparse(ctx context.Context, to, from *os.File, size int64) error {
	in, out := int(from.Fd()), int(to.Fd())
	for at := int64(0); at < size; {
		begin, err := unix.Seek(in, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole to the end
			return nil
		}
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		end, err := unix.Seek(in, begin, unix.SEEK_HOLE)
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		if _, err := unix.Seek(out, begin, unix.SEEK_SET); err != nil {
			return os.NewSyscallError("lseek", err)
		}
		for pos := begin; pos < end; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := unix.Sendfile(out, in, &pos, int(min(end-pos, copyChunk)))
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
				continue
			}
			if err != nil {
				return os.NewSyscallError("sendfile", err)
			}
			if n == 0 {
				return fmt.Errorf("%s ended at byte %d", from.Name(), pos)
			}
		}
		at = end
	}
	return nil
}

// fileID tells a file, as it is, from others on its file system and from itself when it was
// changed. The number of the device is not in it: that may be another one after a restart of the host.
type fileID struct {
	Ino   uint64 `json:"ino"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // ns since 1970
}

// identifyPath is identify for a file that is not open.
func identifyPath(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return idOf(&st), nil
}

func identify(f *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, os.NewSyscallError("fstat", err)
	}
	return idOf(&st), nil
}

func idOf(st *unix.Stat_t) fileID {
	return fileID{Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()}
}
