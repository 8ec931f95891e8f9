//go:build unix

package qmp

import (
	"errors"
	"fmt"
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

// mostFiles is SCM_MAX_FD (unix(7)): a write with more fails, and would end the connection.
const mostFiles = 253

// passFiles duplicates files for the way over conn, which must have a direct writer: it
// sends them.
func passFiles(conn net.Conn, direct bool, files []*os.File) (*passedFiles, error) {
	if _, unix := conn.LocalAddr().(*net.UnixAddr); !unix || !direct {
		return nil, errors.New("not a plain unix socket")
	}
	if len(files) > mostFiles {
		return nil, fmt.Errorf("%d at once, the kernel passes at most %d", len(files), mostFiles)
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
