package main

import (
	"encoding/binary"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// ifreq is struct ifreq of netdevice(7).
type ifreq struct {
	name [syscall.IFNAMSIZ]byte
	data [24]byte
}

func newIfreq(name string) *ifreq {
	var r ifreq
	copy(r.name[:syscall.IFNAMSIZ-1], name)
	return &r
}

// setIPv4 puts a socket address in.
func (r *ifreq) setIPv4(ip [4]byte) {
	r.data = [24]byte{}
	binary.NativeEndian.PutUint16(r.data[:], syscall.AF_INET)
	copy(r.data[4:], ip[:])
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// withSocket runs f with a socket for interface requests.
func withSocket(f func(fd int) error) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return f(fd)
}

func linkUp(fd int, name string) error {
	r := newIfreq(name)
	if err := ioctl(fd, syscall.SIOCGIFFLAGS, unsafe.Pointer(r)); err != nil {
		return err
	}
	flags := binary.NativeEndian.Uint16(r.data[:]) | syscall.IFF_UP
	binary.NativeEndian.PutUint16(r.data[:], flags)
	return ioctl(fd, syscall.SIOCSIFFLAGS, unsafe.Pointer(r))
}

// upLoopback brings lo up; the kernel gives it its addresses.
func upLoopback() { withSocket(func(fd int) error { return linkUp(fd, "lo") }) }

// What QEMU's user-mode network gives its only guest, whatever DHCP would say.
var (
	userNetAddr    = [4]byte{10, 0, 2, 15}
	userNetMask    = [4]byte{255, 255, 255, 0}
	userNetGateway = [4]byte{10, 0, 2, 2}
)

const userNetResolver = "nameserver 10.0.2.3\n"

// configureNIC sets the first network card up for QEMU's user-mode network,
// unless it is up. The guest has no DHCP client: that answer is always the same.
func configureNIC() {
	name := firstNIC()
	if name == "" {
		return
	}
	err := withSocket(func(fd int) error {
		for _, step := range []struct {
			request uintptr
			ip      [4]byte
		}{{syscall.SIOCSIFADDR, userNetAddr}, {syscall.SIOCSIFNETMASK, userNetMask}} {
			r := newIfreq(name)
			r.setIPv4(step.ip)
			if err := ioctl(fd, step.request, unsafe.Pointer(r)); err != nil {
				return err
			}
		}
		if err := linkUp(fd, name); err != nil {
			return err
		}
		return addDefaultRoute(fd, userNetGateway)
	})
	if err != nil {
		say("network card " + name + ": " + err.Error())
		return
	}
	if _, err := os.Stat("/etc/resolv.conf"); err != nil {
		os.MkdirAll("/etc", 0o755)
		os.WriteFile("/etc/resolv.conf", []byte(userNetResolver), 0o644)
	}
}

// firstNIC returns the first card that is down.
func firstNIC() string {
	entries, _ := os.ReadDir("/sys/class/net")
	for _, e := range entries {
		dir := "/sys/class/net/" + e.Name()
		if _, err := os.Stat(dir + "/device"); err != nil {
			continue // not hardware
		}
		if strings.TrimSpace(readSmall(dir+"/operstate")) == "down" {
			return e.Name()
		}
		return ""
	}
	return ""
}

// rtentry is struct rtentry of <linux/route.h> on 64 bit.
type rtentry struct {
	_                     uint64
	dst, gateway, genmask [16]byte
	flags                 uint16
	_                     [6]byte
	_                     [16]byte
	metric                int16
	_                     [6]byte
	dev                   uintptr
	mtu, window           uint64
	irtt                  uint16
	_                     [6]byte
}

func addDefaultRoute(fd int, gateway [4]byte) error {
	var rt rtentry
	for _, addr := range []*[16]byte{&rt.dst, &rt.gateway, &rt.genmask} {
		binary.NativeEndian.PutUint16(addr[:], syscall.AF_INET)
	}
	copy(rt.gateway[4:], gateway[:])
	rt.flags = syscall.RTF_UP | syscall.RTF_GATEWAY
	err := ioctl(fd, syscall.SIOCADDRT, unsafe.Pointer(&rt))
	if err == syscall.EEXIST {
		return nil
	}
	return err
}
