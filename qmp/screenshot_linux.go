package qmp

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// canPassMemory: memoryFile works.
const canPassMemory = true

// memoryFile returns two descriptors of one new file in memory, which has no name
// (memfd_create(2)). The second is for writing only: QEMU takes the descriptor of a set
// whose access mode is the one with which it would open a file.
func memoryFile() (read, write *os.File, err error) {
	fd, err := unix.MemfdCreate("maqet-screen", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	read = os.NewFile(uintptr(fd), "screen")
	write, err = os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_WRONLY, 0)
	if err != nil {
		_ = read.Close()
		return nil, nil, err
	}
	return read, write, nil
}
