package guest

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/vm"
)

// Individualize makes a guest that continues from a saved state somebody of its own: its random
// generator is reseeded and draws from that at once, its clock is set to the host's, and it gets
// the names and the network addresses of id. What is empty in id stays as it is. A guest that
// has been individualized can be again.
//
// With maqet's own init that is one round trip. A guest with the QEMU agent gets a program that
// does the same, of the same source: it is copied to where the guest lets root run one, run and
// removed, which takes some seconds under TCG. That needs the agent's guest-exec, and sh, mktemp
// and gzip. /etc/hostname and /etc/machine-id are left out where they can't be written.
// Services of the guest that have read them go on with what they know.
//
// An id that makes no sense is errors.ErrInvalidConfiguration, and nothing is done. If a part
// fails the rest is done all the same; the error, errors.ErrGuest, names what is not. A guest
// whose agent does not answer is errors.ErrAgentUnavailable.
func (m *Manager) Individualize(ctx context.Context, ref string, id vm.Identity) error {
	const op = "individualize VM"
	change, err := changeOf(id)
	if err != nil {
		return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: op, VM: m.name(ref), Err: err}
	}
	return m.do(ctx, op, ref, func(ctx context.Context, w way) error {
		inst, err := m.machines.Get(ctx, ref)
		if err != nil {
			return err
		}
		change.arch = inst.Config.Arch
		return w.individualize(ctx, change)
	})
}

// change is an identity as a way takes it.
type change struct {
	wire.Identity // without seed and time, which are those of the moment when it is sent
	arch          string
	// renew has the MACs of cards that need a new lease.
	renew []string
}

// changeOf checks an identity and translates it.
func changeOf(id vm.Identity) (change, error) {
	out := change{Identity: wire.Identity{Hostname: id.Hostname, MachineID: id.MachineID}}
	if !isHostname(id.Hostname) {
		return out, errors.New("the host name " + strconv.Quote(id.Hostname) + " is not of at most 64 letters, digits, '-' and '.'")
	}
	if !isMachineID(id.MachineID) {
		return out, errors.New("the machine ID " + strconv.Quote(id.MachineID) + " is not of 32 hexadecimal digits in lower case, or all are 0")
	}
	for _, c := range id.Cards {
		card, err := cardOf(c)
		if err != nil {
			return out, err
		}
		out.Cards = append(out.Cards, card)
		if c.Renew {
			out.renew = append(out.renew, net.HardwareAddr(card.MAC[:]).String())
		}
	}
	return out, nil
}

// isHostname also says yes to none. (hostname(7); HOST_NAME_MAX is 64.)
func isHostname(name string) bool {
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '.' {
			return false
		}
	}
	return len(name) <= 64 && !strings.HasPrefix(name, "-") && !strings.HasPrefix(name, ".")
}

// isMachineID also says yes to none. (machine-id(5).)
func isMachineID(id string) bool {
	return id == "" || len(id) == 32 && strings.Trim(id, "0123456789abcdef") == "" && strings.Trim(id, "0") != ""
}

func cardOf(c vm.CardChange) (out wire.Card, err error) {
	for text, to := range map[string]*[6]byte{c.From: &out.From, c.MAC: &out.MAC} {
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != len(to) {
			return out, errors.New("the network card address " + strconv.Quote(text) + " is not like 52:54:00:12:34:56")
		}
		copy(to[:], mac)
	}
	out.Shared = c.Address != "" || c.Renew
	if c.Address == "" {
		return out, nil
	}
	out.Address, err = netip.ParsePrefix(c.Address)
	if err != nil || !out.Address.Addr().Is4() {
		return out, errors.New("the address " + strconv.Quote(c.Address) + " of the network card " + c.MAC + " is not like 10.1.2.3/16")
	}
	return out, nil
}
