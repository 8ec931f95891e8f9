package main

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/maqet/maqet/guest/wire"
)

// cardPlan is how to set a network card up. There is no DHCP client here: who starts the
// guest knows what each card gets.
type cardPlan struct {
	address netip.Prefix // invalid: none
	gateway netip.Addr   // of the default route; invalid: none
	server  netip.Addr   // that answers DNS; invalid: none
}

// userPlan is what QEMU's user-mode network gives its only guest, whatever DHCP would say.
var userPlan = cardPlan{
	address: netip.MustParsePrefix("10.0.2.15/24"),
	gateway: netip.MustParseAddr("10.0.2.2"),
	server:  netip.MustParseAddr("10.0.2.3"),
}

// networks sets network cards up.
type networks struct {
	sys string // /sys

	mu    sync.Mutex
	plans map[string]cardPlan // by MAC
}

// newNetworks reads the kernel parameter maqet.net. It has an entry for each card that is not
// a first one on QEMU's user network, with semicolons between:
//
//	MAC,ADDRESS/PREFIX[,GATEWAY,NAMESERVER]
//
// "-" in place of the address is none. What can't be read is left out, and said.
func newNetworks(sys, parameter string) *networks {
	n := &networks{sys: sys, plans: map[string]cardPlan{}}
	for entry := range strings.SplitSeq(parameter, ";") {
		if entry == "" {
			continue
		}
		fields := strings.Split(entry, ",")
		var plan cardPlan
		ok := len(fields) == 2 || len(fields) == 4
		if ok && fields[1] != "-" {
			var err error
			plan.address, err = netip.ParsePrefix(fields[1])
			ok = err == nil && plan.address.Addr().Is4()
		}
		if ok && len(fields) == 4 {
			var err1, err2 error
			plan.gateway, err1 = netip.ParseAddr(fields[2])
			plan.server, err2 = netip.ParseAddr(fields[3])
			ok = err1 == nil && err2 == nil && plan.gateway.Is4()
		}
		if !ok {
			say("kernel parameter maqet.net: can't read " + entry)
			continue
		}
		n.plans[strings.ToLower(fields[0])] = plan
	}
	return n
}

// nic is a network card as the kernel has it.
type nic struct {
	name, mac string
	up        bool
}

// cards lists the network cards, without what is only software.
func (n *networks) cards() []nic {
	var list []nic
	entries, _ := os.ReadDir(n.sys + "/class/net")
	for _, e := range entries {
		dir := n.sys + "/class/net/" + e.Name()
		if _, err := os.Stat(dir + "/device"); err != nil {
			continue
		}
		flags, _ := strconv.ParseUint(strings.TrimSpace(readSmall(dir+"/flags")), 0, 32)
		list = append(list, nic{name: e.Name(), mac: strings.TrimSpace(readSmall(dir + "/address")), up: flags&1 != 0})
	}
	return list
}

// todo returns the cards that are down, with what each gets. A card that nothing is said of
// is on QEMU's user network: its addresses go to one card.
func (n *networks) todo() map[string]cardPlan {
	n.mu.Lock()
	defer n.mu.Unlock()
	cards, user := n.cards(), false
	for _, c := range cards {
		_, known := n.plans[c.mac]
		user = user || c.up && !known
	}
	plans := map[string]cardPlan{}
	for _, c := range cards {
		plan, known := n.plans[c.mac]
		if !known && !user {
			plan, known, user = userPlan, true, true
		}
		if known && !c.up {
			plans[c.name] = plan
		}
	}
	return plans
}

// moved keeps the plans of cards that get another address.
func (n *networks) moved(cards []wire.Card) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range cards {
		plan, known := n.plans[macText(c.From)]
		if !known {
			continue
		}
		if c.Address.IsValid() {
			plan.address = c.Address
		}
		delete(n.plans, macText(c.From))
		n.plans[macText(c.MAC)] = plan
	}
}

// configure sets up the cards that are down.
func (n *networks) configure() {
	for name, plan := range n.todo() {
		if err := setUp(name, plan); err != nil {
			say("network card " + name + ": " + err.Error())
			continue
		}
		setResolver(plan.server)
	}
}
