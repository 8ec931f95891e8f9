//go:build unix

package qmp

import (
	"net"
	"os"
	"syscall"
)

// directWriter writes to a socket as much as it takes at once. One goroutine at a time
// uses it.
type directWriter struct {
	raw  syscall.RawConn
	step stepFunc
	wait bool // until the socket takes more

	fd   uintptr
	done bool
	err  error

	attempt func(fd uintptr) bool // made once, for all writes
	try     tryWrite
}

// newDirectWriter returns nil if conn is no plain socket, such as one end of a net.Pipe or
// a type that embeds a socket and may have a Write of its own.
func newDirectWriter(conn net.Conn, step stepFunc) *directWriter {
	switch conn.(type) {
	case *net.UnixConn, *net.TCPConn, PlainSocket:
	default:
		return nil
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	d := &directWriter{raw: raw, step: step}
	d.attempt, d.try = d.steps, d.write
	return d
}

// run takes steps until nothing is left, or, if it may not wait, until the socket takes no
// more.
func (d *directWriter) run(wait bool) (done bool, err error) {
	d.wait, d.done, d.err = wait, false, nil
	if err := d.raw.Write(d.attempt); err != nil {
		return false, err
	}
	return d.done, d.err
}

// steps returns false to be called again when the socket takes more.
func (d *directWriter) steps(fd uintptr) bool {
	d.fd = fd
	for {
		var full bool
		d.done, full, d.err = d.step(d.try)
		switch {
		case d.done || d.err != nil:
			return true
		case full:
			return !d.wait
		}
	}
}

func (d *directWriter) write(data []byte, files *passedFiles) (n int, err error) {
	for {
		if files != nil {
			n, err = syscall.SendmsgN(int(d.fd), data, files.rights, nil, 0)
		} else {
			n, err = syscall.Write(int(d.fd), data)
		}
		switch err {
		case nil:
			return n, nil
		case syscall.EAGAIN:
			return 0, nil
		case syscall.EINTR:
		default:
			return 0, os.NewSyscallError("write", err)
		}
	}
}
