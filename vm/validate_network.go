package vm

import (
	"cmp"
	"fmt"
	"net"
)

func (v *validator) networks(nets []Network) {
	seen, taken := map[string]int{}, map[Forward]string{}
	for i, n := range nets {
		field := fmt.Sprintf("networks[%d]", i)
		name := n.NameAt(i)
		v.partName(field+".name", name)
		if first, ok := seen[name]; ok {
			v.add(field+".name", name, fmt.Sprintf("is also the name of networks[%d]", first), "give each network a name of its own")
		}
		seen[name] = i
		v.oneOf(field+".type", n.Type, "user")
		v.mac(field+".mac", n.MAC)
		for j, f := range n.Forwards {
			v.forward(fmt.Sprintf("%s.forwards[%d]", field, j), f, taken)
		}
	}
}

func (v *validator) mac(field, mac string) {
	if mac == "" {
		return
	}
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		v.add(field, mac, "is not a MAC address", "write it as 52:54:00:12:34:56")
	} else if hw[0]&1 == 1 {
		v.add(field, mac, "is a multicast address", "use an even first byte")
	}
}

// forward checks f; taken has the host's sides of those before it, with their fields.
func (v *validator) forward(field string, f Forward, taken map[Forward]string) {
	side := Forward{Host: cmp.Or(f.Host, "127.0.0.1"), Port: f.Port, Proto: cmp.Or(f.Proto, "tcp")}
	if first, ok := taken[side]; ok {
		v.add(field+".port", fmt.Sprint(f.Port), "is also forwarded by "+first, "give each forward a port of its own on the host")
	}
	taken[side] = field
	for _, p := range []struct {
		name string
		port int
	}{{"port", f.Port}, {"guest", f.Guest}} {
		if p.port < 1 || p.port > 65535 {
			v.add(field+"."+p.name, fmt.Sprint(p.port), "is not a port", "use 1 to 65535")
		}
	}
	v.oneOf(field+".proto", f.Proto, "tcp", "udp")
	// QEMU 7.2 takes no IPv6 address here ("Bad host address").
	if f.Host != "" && net.ParseIP(f.Host).To4() == nil {
		v.add(field+".host", f.Host, "is not an IPv4 address", "use 127.0.0.1, or 0.0.0.0 for all of the host's addresses")
	}
}
