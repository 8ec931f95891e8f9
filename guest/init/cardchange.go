package main

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"github.com/maqet/maqet/guest/wire"
)

// etherCard is a network card as the kernel knows it.
type etherCard struct {
	name  string
	index int32
	mac   [6]byte
}

// arphrdEther is the type of an Ethernet address (Linux, include/uapi/linux/if_arp.h).
const arphrdEther = 1

// maxInterfaces is up to which number interfaces are looked for. They are given out one after
// another.
const maxInterfaces = 1024

// etherCards lists cards with an Ethernet address until those to change are among them. It
// asks by number, which is less code than to read /sys.
func etherCards(fd int, changes []wire.Card) (cards []etherCard) {
	for index, found := int32(1), 0; index <= maxInterfaces && found < len(changes); index++ {
		r := newIfreq("")
		binary.NativeEndian.PutUint32(r.data[:], uint32(index))
		if ioctl(fd, syscall.SIOCGIFNAME, unsafe.Pointer(r)) != nil {
			continue
		}
		r.data = [24]byte{}
		if ioctl(fd, syscall.SIOCGIFHWADDR, unsafe.Pointer(r)) != nil || binary.NativeEndian.Uint16(r.data[:]) != arphrdEther {
			continue
		}
		card := etherCard{name: nameOf(r), index: index, mac: [6]byte(r.data[2:8])}
		cards = append(cards, card)
		for i := range changes {
			if changes[i].From == card.mac {
				found++
			}
		}
	}
	return cards
}

func nameOf(r *ifreq) string {
	n := 0
	for n < len(r.name) && r.name[n] != 0 {
		n++
	}
	return string(r.name[:n])
}

// changeCards gives the cards their new addresses. All are looked up before the first is
// changed: one's new address may be another's old one.
func changeCards(fd int, changes []wire.Card, bad *failures) {
	cards := etherCards(fd, changes)
	for _, change := range changes {
		what := "change the network card " + macText(change.From)
		card := findCard(cards, change)
		if card == nil {
			bad.add(what, syscall.ENODEV)
			continue
		}
		if err := changeMAC(fd, card, change); err != nil {
			bad.add(what+" ("+card.name+") to "+macText(change.MAC), err)
			continue
		}
		if change.Address.IsValid() {
			bad.add("give "+card.name+" the address "+change.Address.String(), replaceAddress(fd, card.name, cardPlan{address: change.Address}))
		}
	}
}

// findCard returns the card to change, or one that has been changed already.
func findCard(cards []etherCard, change wire.Card) *etherCard {
	for _, mac := range [...][6]byte{change.From, change.MAC} {
		for i := range cards {
			if cards[i].mac == mac {
				return &cards[i]
			}
		}
	}
	return nil
}

// changeMAC gives a card another address. Drivers that can't do that while the card is up,
// virtio's is none of them, have it go down and up again.
func changeMAC(fd int, card *etherCard, change wire.Card) error {
	if card.mac == change.MAC {
		return nil
	}
	err := setMAC(fd, card.name, change.MAC)
	if err == syscall.EBUSY {
		err = whileDown(fd, card.name, func() error { return setMAC(fd, card.name, change.MAC) })
	}
	if err == nil && change.Shared {
		moveLinkLocal(card, change.MAC)
	}
	return err
}

func setMAC(fd int, name string, mac [6]byte) error {
	r := newIfreq(name)
	binary.NativeEndian.PutUint16(r.data[:], arphrdEther)
	copy(r.data[2:], mac[:])
	return ioctl(fd, syscall.SIOCSIFHWADDR, unsafe.Pointer(r))
}

// whileDown takes an interface that is up down, calls change, and brings it back with its
// routes, which go with it. Its IPv4 addresses stay.
func whileDown(fd int, name string, change func() error) error {
	routes := routesOf(name)
	if err := setLink(fd, name, false); err != nil {
		return err
	}
	err := change()
	if upErr := setLink(fd, name, true); err == nil {
		err = upErr
	}
	if routesErr := addRoutes(fd, name, routes); err == nil {
		err = routesErr
	}
	return err
}

// replaceAddress gives an interface another IPv4 address in place of its first. The kernel
// forgets the routes with that; those by way of a gateway are given back.
func replaceAddress(fd int, name string, plan cardPlan) error {
	var routes []route
	for _, r := range routesOf(name) {
		if r.flags&syscall.RTF_GATEWAY != 0 {
			routes = append(routes, r)
		}
	}
	err := setUp(name, plan)
	if err == nil {
		err = addRoutes(fd, name, routes)
	}
	return err
}

// moveLinkLocal gives a card the IPv6 address that follows from its new MAC instead of the
// one that followed from the old one (RFC 4291, appendix A), which others have as well now:
// the kernel makes it when a card goes up only. Without IPv6 there is nothing to do. Of all
// that is done to a card this takes longest by far, 30 ms where nothing of it has run before.
func moveLinkLocal(card *etherCard, mac [6]byte) {
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)
	req := struct { // struct in6_ifreq, <linux/ipv6.h>
		addr   [16]byte
		prefix uint32
		index  int32
	}{addr: linkLocal(card.mac), prefix: 64, index: card.index}
	if ioctl(fd, syscall.SIOCDIFADDR, unsafe.Pointer(&req)) == nil {
		req.addr = linkLocal(mac)
		ioctl(fd, syscall.SIOCSIFADDR, unsafe.Pointer(&req))
	}
}

func linkLocal(mac [6]byte) [16]byte {
	return [16]byte{0xfe, 0x80, 8: mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
}

func macText(mac [6]byte) string {
	const digits = "0123456789abcdef"
	var b [17]byte
	for i, v := range mac {
		b[3*i], b[3*i+1] = digits[v>>4], digits[v&15]
		if i > 0 {
			b[3*i-1] = ':'
		}
	}
	return string(b[:])
}
