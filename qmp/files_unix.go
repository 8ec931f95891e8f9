//go:build unix

package qmp

import (
	"errors"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// passedFiles are duplicates of files on their way to QEMU. A nil one is none.
type passedFiles struct {
	rights []byte // unix(7), SCM_RIGHTS
	fds    []int
	once   sync.Once
}

// passFiles duplicates files for the way over conn.
func passFiles(conn net.Conn, files []*os.File) (*passedFiles, error) {
	// *net.UnixConn, and what embeds it.
	if _, ok := conn.(interface {
		WriteMsgUnix(b, oob []byte, addr *net.UnixAddr) (n, oobn int, err error)
	}); !ok {
		return nil, errors.New("not a unix socket")
	}
	p := &passedFiles{}
	for _, f := range files {
		fd, err := duplicate(f)
		if err != nil {
			p.close()
			return nil, err
		}
		p.fds = append(p.fds, fd)
	}
	p.rights = unix.UnixRights(p.fds...)
	return p, nil
}

// close closes the duplicates, once.
func (p *passedFiles) close() {
	if p == nil {
		return
	}
	p.once.Do(func() {
		for _, fd := range p.fds {
			_ = unix.Close(fd)
		}
	})
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
