package qmp

import (
	"os"

	"golang.org/x/sys/unix"
)

// imageLocked reports whether a QEMU has the image open, by the byte ranges that it locks
// (QEMU, block/file-posix.c: RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE).
func imageLocked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: 100, Len: 200}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK
}
