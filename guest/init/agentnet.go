package main

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

type netAddress struct {
	Type   string `json:"ip-address-type"`
	IP     string `json:"ip-address"`
	Prefix int    `json:"prefix"`
}

type netInterface struct {
	Name      string       `json:"name"`
	MAC       string       `json:"hardware-address,omitempty"`
	Addresses []netAddress `json:"ip-addresses,omitempty"`
}

// interfaces lists the network interfaces with their addresses. It asks netlink
// itself: package net would double this program's size.
func (a *agent) interfaces(empty) (any, error) {
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return nil, err
	}
	addresses, err := addressesByIndex()
	if err != nil {
		return nil, err
	}
	list := []netInterface{} // not null when there is none
	for _, e := range entries {
		dir := "/sys/class/net/" + e.Name()
		list = append(list, netInterface{
			Name:      e.Name(),
			MAC:       readSmall(dir + "/address"),
			Addresses: addresses[strings.TrimSpace(readSmall(dir+"/ifindex"))],
		})
	}
	return list, nil
}

// addressesByIndex asks the kernel for all addresses; the keys are interface
// indexes as sysfs writes them.
func addressesByIndex() (map[string][]netAddress, error) {
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_UNSPEC)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, os.NewSyscallError("netlink", err)
	}
	found := map[string][]netAddress{}
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg {
			continue
		}
		msg := (*syscall.IfAddrmsg)(unsafe.Pointer(&m.Data[0]))
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, os.NewSyscallError("netlink", err)
		}
		if addr, ok := interfaceAddress(attrs); ok {
			kind := "ipv4"
			if addr.Is6() {
				kind = "ipv6"
			}
			index := strconv.Itoa(int(msg.Index))
			found[index] = append(found[index], netAddress{Type: kind, IP: addr.String(), Prefix: int(msg.Prefixlen)})
		}
	}
	return found, nil
}

// interfaceAddress picks the interface's own address: on a point-to-point link
// IFA_ADDRESS is the other side's.
func interfaceAddress(attrs []syscall.NetlinkRouteAttr) (addr netip.Addr, ok bool) {
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case syscall.IFA_LOCAL:
			return netip.AddrFromSlice(attr.Value)
		case syscall.IFA_ADDRESS:
			addr, ok = netip.AddrFromSlice(attr.Value)
		}
	}
	return addr, ok
}
