package main

import (
	"encoding/binary"
	"net/netip"
	"os"
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

// setLink brings an interface up or takes it down.
func setLink(fd int, name string, up bool) error {
	r := newIfreq(name)
	if err := ioctl(fd, syscall.SIOCGIFFLAGS, unsafe.Pointer(r)); err != nil {
		return err
	}
	flags := binary.NativeEndian.Uint16(r.data[:]) &^ syscall.IFF_UP
	if up {
		flags |= syscall.IFF_UP
	}
	binary.NativeEndian.PutUint16(r.data[:], flags)
	return ioctl(fd, syscall.SIOCSIFFLAGS, unsafe.Pointer(r))
}

// upLoopback brings lo up; the kernel gives it its addresses.
func upLoopback() { withSocket(func(fd int) error { return setLink(fd, "lo", true) }) }

// setUp gives a card what the plan says, and brings it up.
func setUp(name string, plan cardPlan) error {
	return withSocket(func(fd int) error {
		if plan.address.IsValid() {
			mask := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), plan.address.Bits()).Masked().Addr()
			for _, step := range []struct {
				request uintptr
				ip      netip.Addr
			}{{syscall.SIOCSIFADDR, plan.address.Addr()}, {syscall.SIOCSIFNETMASK, mask}} {
				r := newIfreq(name)
				r.setIPv4(step.ip.As4())
				if err := ioctl(fd, step.request, unsafe.Pointer(r)); err != nil {
					return err
				}
			}
		}
		if err := setLink(fd, name, true); err != nil {
			return err
		}
		if plan.gateway.IsValid() {
			return addDefaultRoute(fd, plan.gateway.As4())
		}
		return nil
	})
}

// setResolver makes a name server known, unless one is.
func setResolver(server netip.Addr) {
	if _, err := os.Stat("/etc/resolv.conf"); err != nil && server.IsValid() {
		os.MkdirAll("/etc", 0o755)
		os.WriteFile("/etc/resolv.conf", []byte("nameserver "+server.String()+"\n"), 0o644)
	}
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
	dev                   *byte
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
