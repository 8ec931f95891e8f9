package guest

import (
	"context"
	"fmt"
	"net/netip"
)

// Interface is one of a guest's network interfaces.
type Interface struct {
	Name      string // in the guest: "eth0"
	MAC       string // lower case; empty where there is none
	Addresses []netip.Prefix
}

// Loopback reports whether the interface reaches the guest itself only.
func (i Interface) Loopback() bool {
	for _, a := range i.Addresses {
		if a.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

// IPv4 returns the interface's first IPv4 address; the zero Addr when it has none.
func (i Interface) IPv4() netip.Addr {
	for _, a := range i.Addresses {
		if a.Addr().Is4() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// Interfaces asks the guest's agent for the network interfaces, in the guest's order, the
// loopback interface among them. An agent that has the command switched off is a
// *errors.QMPError of the class CommandNotFound.
func (m *Manager) Interfaces(ctx context.Context, ref string) ([]Interface, error) {
	var list []Interface
	err := m.withAgent(ctx, "ask for the network interfaces of VM", ref, func(ctx context.Context, c *agentChannel) (err error) {
		list, err = interfaces(ctx, c)
		return err
	})
	return list, err
}

// interfaces asks for guest-network-get-interfaces (QEMU Guest Agent Protocol Reference).
func interfaces(ctx context.Context, c *agentChannel) ([]Interface, error) {
	var reply []struct {
		Name      string `json:"name"`
		MAC       string `json:"hardware-address"`
		Addresses []struct {
			IP     string `json:"ip-address"`
			Prefix int    `json:"prefix"`
		} `json:"ip-addresses"`
	}
	if err := c.call(ctx, "guest-network-get-interfaces", nil, &reply); err != nil {
		return nil, err
	}
	var list []Interface
	for _, nic := range reply {
		have := Interface{Name: nic.Name, MAC: nic.MAC}
		for _, a := range nic.Addresses {
			ip, err := netip.ParseAddr(a.IP)
			prefix := netip.PrefixFrom(ip.WithZone(""), a.Prefix)
			if err != nil || !prefix.IsValid() {
				return nil, fmt.Errorf("the agent says that %s has the address %q, %d", nic.Name, a.IP, a.Prefix)
			}
			have.Addresses = append(have.Addresses, prefix)
		}
		list = append(list, have)
	}
	return list, nil
}
