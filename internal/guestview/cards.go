package guestview

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/maqet/maqet/vm"
)

// Card is a network card of a configuration with its place.
type Card struct {
	vm.Network
	Index int    // in Config.Networks
	Field string // its path in the configuration
	Name  string
}

// Cards returns the network cards that a guest has: those of cfg that are not in unplugged.
func Cards(cfg vm.Config, unplugged []string) []Card {
	var list []Card
	for i, n := range cfg.Networks {
		if name := n.NameAt(i); !slices.Contains(unplugged, name) {
			list = append(list, Card{Network: n, Index: i, Field: fmt.Sprintf("networks[%d]", i), Name: name})
		}
	}
	return list
}

// CardRecords says what the network cards of the VM with this ID are.
func CardRecords(cfg vm.Config, unplugged []string, id string) []vm.Card {
	var list []vm.Card
	for _, c := range Cards(cfg, unplugged) {
		list = append(list, vm.Card{Name: c.Name, MAC: c.MACOf(id), Address: c.AddressOf(id)})
	}
	return list
}

// MACOf returns the card's MAC in the VM with this ID.
func (c Card) MACOf(id string) string {
	if c.MAC != "" {
		return strings.ToLower(c.MAC)
	}
	return DerivedMAC(id, c.Index)
}

// DerivedMAC derives a MAC in QEMU's range from the VM's ID and the card's position: the
// same at each start, and another one for each VM.
func DerivedMAC(id string, index int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", id, index))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum[0], sum[1], sum[2])
}

// AddressOf returns the address that the card has in the VM with this ID; empty on user
// networks, where all guests have the same, and where nobody has said any.
func (c Card) AddressOf(id string) string {
	if c.TypeOf() == vm.NetworkSegment {
		return cmp.Or(c.Address, SegmentAddress(c.SegmentOf(), c.MACOf(id)))
	}
	return c.Address
}

// SegmentOf returns the segment that the card is on, or the default.
func (c Card) SegmentOf() string { return cmp.Or(c.Segment, vm.DefaultSegment) }

// UserAddresses returns the guest's address, the gateway's and the name server's in the
// subnet of a user network (QEMU manual, -netdev user, net, host, dns, dhcpstart).
func UserAddresses(subnet string) []string {
	prefix, err := netip.ParsePrefix(subnet)
	if err != nil {
		return nil // vm.Config.Validate has refused it
	}
	base := binary.BigEndian.Uint32(prefix.Addr().AsSlice())
	nth := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, base+n)))
	}
	return []string{netip.PrefixFrom(nth(15), prefix.Bits()).String(), nth(2).String(), nth(3).String()}
}

// SegmentAddress derives a card's address on a segment: the network from the segment's
// name, the host's part from the MAC. 10.0.0.0/16 is left to user networks.
func SegmentAddress(segment, mac string) string {
	network := sha256.Sum256([]byte(segment))
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return "" // vm.Config.Validate has refused it
	}
	sum := sha256.Sum256(hw)
	host := 1 + binary.BigEndian.Uint16(sum[:])%(1<<16-2) // neither the network nor its broadcast address
	addr := netip.AddrFrom4([4]byte{10, 1 + network[0]%255, byte(host >> 8), byte(host)})
	return netip.PrefixFrom(addr, 16).String()
}
