package process

import (
	"context"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// tapCable is a tap device that this process opens and QEMU inherits: QEMU has no right to
// start programs, as its bridge helper, and need not have that to open devices.
func (b *builder) tapCable(c card) props {
	field := c.Field + ".interface"
	if _, err := net.InterfaceByName(c.Interface); err != nil {
		fix := "make it with `ip tuntap add mode tap user USER name NAME`, or correct the name"
		if c.Type == vm.NetworkBridge {
			fix = "make it with `ip link add NAME type bridge`, or correct the name"
		}
		b.problem(field, c.Interface, "does not exist on this host", fix)
	}
	open := func(context.Context) (*os.File, error) {
		var f *os.File
		var err error
		if c.Type == vm.NetworkBridge {
			f, err = openBridge(c.Interface)
		} else {
			f, err = openTap(c.Interface)
		}
		if err != nil {
			return nil, refuse(field, c.Interface, "can't be used: "+err.Error(), tapFix(c.Type, err))
		}
		return f, nil
	}
	return props{"type": "tap", "fd": b.inherit(inherited{open: open})}
}

// tapFix says what to do about an error of the kernel's (Linux, Documentation/networking/
// tuntap.rst).
func tapFix(kind string, err error) string {
	switch {
	case errors.Is(err, unix.EPERM) && kind == vm.NetworkBridge:
		return "run with CAP_NET_ADMIN, or have the administrator make a tap device on the bridge and use type tap"
	case errors.Is(err, unix.EPERM):
		return "have the administrator give the device to this user (`ip tuntap add mode tap user USER`), or run with CAP_NET_ADMIN"
	case errors.Is(err, unix.EBUSY):
		return "another program uses it: give each card a tap device of its own"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO):
		return "load the kernel module tun"
	case errors.Is(err, unix.EACCES):
		return "give this user access to " + tunDevice
	default:
		return "check that it is a " + kind
	}
}

const tunDevice = "/dev/net/tun"

// openTap opens the tap device with this name, or makes one whose name the kernel chooses
// after a pattern such as "mq%d".
func openTap(name string) (f *os.File, err error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: tunDevice, Err: err}
	}
	f = os.NewFile(uintptr(fd), tunDevice)
	req, err := unix.NewIfreq(name)
	if err == nil {
		// QEMU finds out by itself which headers there are.
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = os.NewSyscallError("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openBridge makes a tap device that is part of the bridge, and vanishes with its last
// descriptor.
func openBridge(bridge string) (f *os.File, err error) {
	if f, err = openTap("maqet%d"); err != nil {
		return nil, err
	}
	if err = enslave(f, bridge); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// enslave adds a tap device to the bridge and brings it up (netdevice(7); SIOCBRADDIF is
// what `brctl addif` uses).
func enslave(tap *os.File, bridge string) error {
	req, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(int(tap.Fd()), unix.TUNGETIFF, req)
	}
	if err != nil {
		return os.NewSyscallError("TUNGETIFF", err)
	}
	device, err := net.InterfaceByName(req.Name())
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	on, err := unix.NewIfreq(bridge)
	if err == nil {
		on.SetUint32(uint32(device.Index))
		err = os.NewSyscallError("SIOCBRADDIF", unix.IoctlIfreq(fd, unix.SIOCBRADDIF, on))
	}
	if err != nil {
		return err
	}
	if req, err = unix.NewIfreq(device.Name); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return os.NewSyscallError("SIOCGIFFLAGS", err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("SIOCSIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
}
