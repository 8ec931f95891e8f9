package main

import (
	"bytes"
	"os"
	"syscall"
)

// uevent is what the kernel says about a device that came, went or changed.
type uevent struct {
	action, subsystem, modalias string
	path                        string // of the device, below /sys
}

// uevents is the kernel's stream of uevents. It is opened before the first module
// is loaded, so that no event is missed between looking and listening.
type uevents struct{ fd int }

func openUevents() (*uevents, error) {
	const netlinkKobjectUevent = 15
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, netlinkKobjectUevent)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK, Groups: 1}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	return &uevents{fd: fd}, nil
}

// watch calls handle for each event; it returns when the socket fails.
func (u *uevents) watch(handle func(uevent)) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := syscall.Read(u.fd, buf)
		switch err {
		case nil:
			handle(parseUevent(buf[:n]))
		case syscall.EINTR:
		case syscall.ENOBUFS: // events were lost: look again for what matters
			handle(uevent{action: "change", subsystem: "virtio-ports"})
		default:
			return os.NewSyscallError("read", err)
		}
	}
}

// parseUevent takes "add@/devices/...\0KEY=value\0..." apart.
func parseUevent(msg []byte) (e uevent) {
	for field := range bytes.SplitSeq(msg, []byte{0}) {
		key, value, ok := bytes.Cut(field, []byte("="))
		if !ok {
			continue
		}
		switch string(key) {
		case "ACTION":
			e.action = string(value)
		case "DEVPATH":
			e.path = string(value)
		case "SUBSYSTEM":
			e.subsystem = string(value)
		case "MODALIAS":
			e.modalias = string(value)
		}
	}
	return e
}
