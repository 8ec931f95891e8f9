//go:build unix

package qmp

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// rightsWriter is the part of *net.UnixConn that sends files.
type rightsWriter interface {
	WriteMsgUnix(b, oob []byte, addr *net.UnixAddr) (n, oobn int, err error)
}

// fileRights returns duplicates of files in the form that travels over conn (unix(7),
// SCM_RIGHTS), and what closes the duplicates.
func fileRights(conn net.Conn, files []*os.File) (rights []byte, release func(), err error) {
	if _, ok := conn.(rightsWriter); !ok {
		return nil, nil, errors.New("not a unix socket")
	}
	fds := make([]int, 0, len(files))
	release = func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	for _, f := range files {
		fd, err := duplicate(f)
		if err != nil {
			release()
			return nil, nil, err
		}
		fds = append(fds, fd)
	}
	return unix.UnixRights(fds...), release, nil
}

// duplicate returns a descriptor of f's open file. Unlike f.Fd it leaves f in the
// mode it is in.
func duplicate(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(p uintptr) {
		fd, dupErr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	return fd, os.NewSyscallError("fcntl", dupErr)
}

// writeRights writes data, perhaps not all of it, with rights attached.
func writeRights(conn net.Conn, data, rights []byte) (int, error) {
	n, _, err := conn.(rightsWriter).WriteMsgUnix(data, rights, nil)
	return n, err
}
