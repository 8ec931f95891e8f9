package main

import (
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/maqet/maqet/guest/wire"
)

// port is an open virtio-serial port. While no host is connected a plain read
// returns 0 at once and poll reports a hang-up all the time; this one waits for
// the poller's next edge instead, which the kernel gives when a host connects
// or bytes arrive.
type port struct {
	file   *os.File
	rc     syscall.RawConn
	active bool // bytes came since the host was last seen gone
}

func openPort(path string) (*port, error) {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	rc, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &port{file: f, rc: rc}, nil
}

// Read waits for bytes. It returns wire.ErrPeerGone once each time the host
// closes its end; a host that is back at once may go unnoticed.
func (p *port) Read(b []byte) (n int, err error) {
	gone := false
	waitErr := p.rc.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), b)
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
			return false
		case err == nil && n == 0:
			gone, p.active = p.active, false
			return gone
		}
		return true
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case gone:
		return 0, wire.ErrPeerGone
	case err != nil:
		return 0, err
	}
	p.active = true
	return n, nil
}

func (p *port) Write(b []byte) (int, error) { return p.file.Write(b) }

func (p *port) Close() error { return p.file.Close() }

var _ io.ReadWriteCloser = (*port)(nil)

const portClass = "/sys/class/virtio-ports"

// findPorts returns the device files of the ports by their names. A port gets
// its name some time after it appears, and a uevent then.
func findPorts() map[string]string {
	ports := map[string]string{}
	entries, _ := os.ReadDir(portClass)
	for _, e := range entries {
		if name := strings.TrimSpace(readSmall(portClass + "/" + e.Name() + "/name")); name != "" {
			ports[name] = "/dev/" + e.Name()
		}
	}
	return ports
}

// portLinks is where programs look for ports by name; elsewhere udev makes the links
// (systemd, rules.d/50-udev-default.rules).
const portLinks = "/dev/virtio-ports"

// linkPorts makes dir have a link with the name of each port, and none of ports that are
// gone.
func linkPorts(dir string, ports map[string]string) {
	if len(ports) > 0 {
		os.MkdirAll(dir, 0o755)
	}
	links, _ := os.ReadDir(dir)
	for _, link := range links {
		path := dir + "/" + link.Name()
		if target, _ := os.Readlink(path); target != ports[link.Name()] {
			os.Remove(path)
		}
	}
	for name, target := range ports {
		if !strings.Contains(name, "/") {
			os.Symlink(target, dir+"/"+name) // fails where it is already
		}
	}
}
