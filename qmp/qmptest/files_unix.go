//go:build unix

package qmptest

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// rightsBuffer has room for as many files as one message can carry (unix(7)).
func rightsBuffer() []byte {
	const most = 253
	return make([]byte, unix.CmsgSpace(4*most))
}

// readFiles reads data, and files where the connection can pass them.
func readFiles(nc net.Conn, buf, rights []byte) (int, []*os.File, error) {
	socket, ok := nc.(*net.UnixConn)
	if !ok {
		n, err := nc.Read(buf)
		return n, nil, err
	}
	n, size, _, _, err := socket.ReadMsgUnix(buf, rights)
	if size == 0 {
		return n, nil, err
	}
	var files []*os.File
	messages, _ := unix.ParseSocketControlMessage(rights[:size])
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m) // not rights: no files
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "from QMP client"))
		}
	}
	return n, files, err
}

func socketPair() (ours, theirs net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	if ours, err = fileConn(fds[0]); err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	if theirs, err = fileConn(fds[1]); err != nil {
		_ = ours.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// fileConn makes a connection of fd and closes fd.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socketpair")
	defer f.Close()
	return net.FileConn(f)
}
