package libvirt

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// netdevOf is what libvirt calls, in QEMU, what is behind a network card.
func netdevOf(card string) string { return "host" + aliasOf(card) }

// openForwards opens the forwards of a guest's user networks, which libvirt's XML can't
// express, and returns them by the card's name, with the ports that were chosen. Those that are
// open already stay as they are: it can be called again.
//
// It goes through QEMU's human monitor, which alone can do it. Nothing of a line is a user's
// text: there are an address and numbers.
func (b *Backend) openForwards(ctx context.Context, dom libvirt.Domain, name string, cards []guestview.Card) (map[string][]vm.Forward, error) {
	cards = slices.DeleteFunc(slices.Clone(cards), func(c guestview.Card) bool { return len(c.Forwards) == 0 || c.TypeOf() != vm.NetworkUser })
	if len(cards) == 0 || b.imitates() {
		return nil, nil
	}
	rows, err := b.usernet(ctx, dom, name)
	if err != nil {
		return nil, err
	}
	for _, c := range cards {
		for j, f := range c.Forwards {
			if guestview.TakeRow(rows, netdevOf(c.Name), f) == 0 {
				if err := b.openForward(ctx, dom, name, c, j); err != nil {
					return nil, err
				}
			}
		}
	}
	if rows, err = b.usernet(ctx, dom, name); err != nil {
		return nil, err
	}
	forwards := map[string][]vm.Forward{}
	for _, c := range cards {
		list := slices.Clone(c.Forwards)
		for i := range list {
			port := guestview.TakeRow(rows, netdevOf(c.Name), list[i])
			if port == 0 {
				return nil, errors.Wrap(errors.ErrBackend, "open forwards", name,
					fmt.Errorf("QEMU does not list that of %s to guest port %d", c.Name, list[i].Guest))
			}
			list[i].Port = port
		}
		forwards[c.Name] = list
	}
	return forwards, nil
}

// openForward opens the j-th forward of a card.
func (b *Backend) openForward(ctx context.Context, dom libvirt.Domain, name string, c guestview.Card, j int) error {
	f := c.Forwards[j]
	refuse := func(field, value, message, fix string) error {
		return &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: name,
			Problems: []errors.Problem{{Field: fmt.Sprintf("%s.forwards[%d].%s", c.Field, j, field), Value: value, Message: message, Fix: fix}}}
	}
	if addr, err := netip.ParseAddr(f.Host); f.Host != "" && (err != nil || !addr.Is4()) {
		return refuse("host", f.Host, "is not an IPv4 address", "write it as 127.0.0.1")
	}
	if f.Proto != "" && f.Proto != "tcp" && f.Proto != "udp" {
		return refuse("proto", f.Proto, "is not a protocol", "use tcp or udp")
	}
	said, err := b.humanMonitor(ctx, dom, name, "hostfwd_add "+netdevOf(c.Name)+" "+qmp.Forward(f).Rule())
	if err != nil {
		return err
	}
	if said = strings.TrimSpace(said); said != "" { // it is silent when it has done it
		return refuse("port", strconv.Itoa(f.Port), "can't be had on "+b.host.endpoint.String()+": "+said,
			"choose another, or use 0 for a free one")
	}
	return nil
}

// usernet returns the forwards that are open.
func (b *Backend) usernet(ctx context.Context, dom libvirt.Domain, name string) ([]guestview.ForwardRow, error) {
	text, err := b.humanMonitor(ctx, dom, name, "info usernet")
	return guestview.ParseUsernet(text), err
}

// humanMonitorCommand is VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP of libvirt-qemu.h.
const humanMonitorCommand = 1

// humanMonitor runs a line of QEMU's human monitor, whose failures are text as well.
func (b *Backend) humanMonitor(ctx context.Context, dom libvirt.Domain, name, line string) (string, error) {
	return ask(ctx, b.host.call, "open forwards", name, func(l *libvirt.Libvirt) (string, error) {
		return l.QEMUDomainMonitorCommand(dom, line, humanMonitorCommand)
	})
}
