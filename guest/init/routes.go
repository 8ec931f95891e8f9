package main

import (
	"encoding/binary"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// route is an IPv4 route as /proc/net/route has it.
type route struct {
	destination, gateway, mask [4]byte
	flags                      uint16
	metric                     int16
}

// routesOf returns an interface's routes.
func routesOf(name string) []route { return parseRoutes(readSmall("/proc/net/route"), name) }

// parseRoutes reads a line's fields: interface, destination, gateway, flags, references, use,
// metric, mask. Addresses are hexadecimal numbers with the bytes as they are in memory (Linux,
// net/ipv4/fib_trie.c, fib_route_seq_show).
func parseRoutes(text, name string) (routes []route) {
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] != name {
			continue
		}
		var r route
		for field, to := range map[int]*[4]byte{1: &r.destination, 2: &r.gateway, 7: &r.mask} {
			n, err := strconv.ParseUint(f[field], 16, 32)
			if err != nil {
				continue
			}
			binary.NativeEndian.PutUint32(to[:], uint32(n))
		}
		flags, _ := strconv.ParseUint(f[3], 16, 16)
		metric, _ := strconv.ParseInt(f[6], 10, 16)
		r.flags, r.metric = uint16(flags), int16(metric)
		routes = append(routes, r)
	}
	return routes
}

// addRoutes adds those that are not there.
func addRoutes(fd int, name string, routes []route) error {
	dev := append([]byte(name), 0)
	for _, r := range routes {
		var rt rtentry
		for to, ip := range map[*[16]byte][4]byte{&rt.dst: r.destination, &rt.gateway: r.gateway, &rt.genmask: r.mask} {
			binary.NativeEndian.PutUint16(to[:], syscall.AF_INET)
			copy(to[4:], ip[:])
		}
		rt.flags, rt.metric = r.flags, r.metric+1 // the kernel takes one off
		rt.dev = &dev[0]
		if err := ioctl(fd, syscall.SIOCADDRT, unsafe.Pointer(&rt)); err != nil && err != syscall.EEXIST {
			return err
		}
	}
	return nil
}
