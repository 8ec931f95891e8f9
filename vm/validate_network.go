package vm

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
)

// hostInterfacePattern is stricter than Linux, whose names can have all but slashes and
// white space in at most 15 bytes (IFNAMSIZ).
var hostInterfacePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,14}$`)

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
		v.oneOf(field+".type", n.Type, NetworkUser, NetworkSegment, NetworkPasst, NetworkTap, NetworkBridge, NetworkNone)
		v.card(field, n)
		v.cable(field, n)
		for j, f := range n.Forwards {
			v.forward(fmt.Sprintf("%s.forwards[%d]", field, j), n.TypeOf(), f, taken)
		}
	}
}

// card checks what the guest sees.
func (v *validator) card(field string, n Network) {
	v.mac(field+".mac", n.MAC)
	if n.Model != "" && !qemuNamePattern.MatchString(n.Model) {
		v.add(field+".model", n.Model, "is not the name of a network card", "use virtio, or a name that QEMU's -device help lists, such as e1000e")
	}
	v.text(field+".capture", n.Capture)
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

// cable checks what is behind the card: that a field means something for the type, and
// that it is right then.
func (v *validator) cable(field string, n Network) {
	user, host := n.TypeOf() == NetworkUser || n.TypeOf() == NetworkPasst, n.TypeOf() == NetworkTap || n.TypeOf() == NetworkBridge
	only := func(name, value string, given, ok bool, types string) bool {
		if given && !ok {
			v.add(field+"."+name, value, "has no meaning for a network of type "+n.TypeOf(), "leave it out, or use type "+types)
		}
		return given && ok
	}
	only("forwards", "", len(n.Forwards) > 0, user, "user or passt")
	only("restrict", "true", n.Restrict, n.TypeOf() == NetworkUser, "user")
	if only("subnet", n.Subnet, n.Subnet != "", user, "user or passt") {
		v.subnet(field+".subnet", n.Subnet)
	}
	if only("segment", n.Segment, n.Segment != "", n.TypeOf() == NetworkSegment, "segment") {
		v.partName(field+".segment", n.Segment)
	}
	if only("address", n.Address, n.Address != "", !user, "segment, tap, bridge or none") {
		v.address(field+".address", n.Address)
	}
	if only("interface", n.Interface, n.Interface != "", host, "tap or bridge") {
		if !hostInterfacePattern.MatchString(n.Interface) {
			v.add(field+".interface", n.Interface, "is not the name of a network interface", "use a name that `ip link` shows")
		}
	} else if host {
		v.add(field+".interface", "", "is missing", "name the host's "+n.Type+", as `ip link` shows it")
	}
}

// subnet checks that all addresses fit that QEMU gives away; see Network.Subnet.
func (v *validator) subnet(field, text string) {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !prefix.Addr().Is4():
		v.add(field, text, "is not an IPv4 network", "write it as "+DefaultSubnet)
	case prefix != prefix.Masked():
		v.add(field, text, "is an address in a network", "write "+prefix.Masked().String())
	case prefix.Bits() < 8 || prefix.Bits() > 27:
		v.add(field, text, "is too large or too small", "use a prefix of 8 to 27 bits")
	}
}

func (v *validator) address(field, text string) {
	prefix, err := netip.ParsePrefix(text)
	switch addr := prefix.Addr(); {
	case err != nil || !addr.Is4():
		v.add(field, text, "is not an IPv4 address with a prefix", "write it as 10.1.0.2/16")
	case addr.IsMulticast() || addr.IsUnspecified() || addr.IsLoopback():
		v.add(field, text, "is no address for a network card", "use one of a private network, such as 10.1.0.2/16")
	case prefix.Bits() == 0 || prefix.Bits() < 31 && prefix == prefix.Masked():
		v.add(field, text, "is a network", "use an address in it")
	}
}

// forward checks f; taken has the host's sides of those before it, with their fields.
func (v *validator) forward(field, kind string, f Forward, taken map[Forward]string) {
	side := Forward{Host: cmp.Or(f.Host, "127.0.0.1"), Port: f.Port, Proto: cmp.Or(f.Proto, "tcp")}
	if first, ok := taken[side]; ok && f.Port != 0 {
		v.add(field+".port", fmt.Sprint(f.Port), "is also forwarded by "+first, "give each forward a port of its own on the host, or 0 for a free one")
	}
	taken[side] = field
	switch {
	case f.Port < 0 || f.Port > 65535:
		v.add(field+".port", fmt.Sprint(f.Port), "is not a port", "use 1 to 65535, or 0 for a free one")
	case f.Port == 0 && kind == NetworkPasst:
		v.add(field+".port", "0", "can't be chosen by passt", "use 1 to 65535, or a network of type user")
	}
	if f.Guest < 1 || f.Guest > 65535 {
		v.add(field+".guest", fmt.Sprint(f.Guest), "is not a port", "use 1 to 65535")
	}
	v.oneOf(field+".proto", f.Proto, "tcp", "udp")
	// QEMU 7.2 takes no IPv6 address here ("Bad host address").
	if f.Host != "" && net.ParseIP(f.Host).To4() == nil {
		v.add(field+".host", f.Host, "is not an IPv4 address", "use 127.0.0.1, or 0.0.0.0 for all of the host's addresses")
	}
}
