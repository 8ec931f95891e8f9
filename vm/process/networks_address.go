package process

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"

	"github.com/maqet/maqet/vm"
)

// addressParameter is by what name maqet's own init learns the addresses of network cards
// from the kernel's command line; guest/init/network.go has its form.
const addressParameter = "maqet.net="

// addresses tells maqet's own init how to set network cards up. Of a first card on QEMU's
// user network with its usual addresses init knows by itself, and nothing is said.
func (b *builder) addresses() string {
	var entries []string
	user := map[string]bool{} // subnets whose guest address is taken
	for _, c := range b.cards() {
		entry := ""
		switch c.TypeOf() {
		case vm.NetworkUser, vm.NetworkPasst:
			subnet := cmp.Or(c.Subnet, vm.DefaultSubnet)
			if user[subnet] {
				break // one card has it; two would only confuse the routes
			}
			if user[subnet] = true; subnet == vm.DefaultSubnet && len(user) == 1 {
				continue
			}
			entry = strings.Join(userAddresses(subnet), ",")
		default:
			entry = c.address(b.spec.ID)
		}
		entries = append(entries, b.mac(c)+","+cmp.Or(entry, "-"))
	}
	if len(entries) == 0 {
		return ""
	}
	return addressParameter + strings.Join(entries, ";")
}

// address returns the address that the card has in the VM with this ID; empty on user
// networks, where all guests have the same, and where nobody has said any.
func (c card) address(id string) string {
	if c.TypeOf() == vm.NetworkSegment {
		return cmp.Or(c.Address, segmentAddress(c.segment(), c.mac(id)))
	}
	return c.Address
}

// cardRecords says what the network cards of the VM with this ID are.
func cardRecords(cfg vm.Config, unplugged []string, id string) []vm.Card {
	var list []vm.Card
	for _, c := range cardsOf(cfg, unplugged) {
		list = append(list, vm.Card{Name: c.name, MAC: c.mac(id), Address: c.address(id)})
	}
	return list
}

// userAddresses returns the guest's address, the gateway's and the name server's in the
// subnet of a user network (QEMU manual, -netdev user, net, host, dns, dhcpstart).
func userAddresses(subnet string) []string {
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

// segmentAddress derives a card's address on a segment: the network from the segment's
// name, the host's part from the MAC. 10.0.0.0/16 is left to user networks.
func segmentAddress(segment, mac string) string {
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
