package guest

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// Dial connects to a TCP port in the guest. address is "HOST:PORT", where HOST is seen from
// inside the guest: empty, "localhost" or the VM's name for the guest itself, or an IP
// address. It has the shape of net.Dialer.DialContext, so that an http.Transport can use
// it:
//
//	http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
//		return m.Dial(ctx, ref, network, address)
//	}}
//
// Under maqet's own init the connection goes through the channel on which commands run: it
// needs no network card, reaches the guest's loopback addresses and what else the guest
// reaches, and a port on which nobody listens is an error that matches
// syscall.ECONNREFUSED. At most 63 connections and commands are possible at a time.
//
// In other guests it goes through a network card of type user: by a forward of the
// configuration to that port, else by one of its own, which is removed with the
// connection. QEMU accepts whether or not anybody listens in the guest: where nobody does,
// the connection ends at once. Only the guest itself can be reached.
//
// ctx is for connecting only. The connection ends with the guest, and with
// [Manager.Close]; deadlines and half-closed connections work as with TCP.
func (m *Manager) Dial(ctx context.Context, ref, network, address string) (net.Conn, error) {
	op := "dial " + address + " in VM"
	target, err := m.target(ctx, ref, network, address)
	if err != nil {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: op, VM: m.name(ref), Err: err}
	}
	c, err := m.begin(ctx, op, ref)
	if err != nil {
		return nil, err
	}
	defer c.end()
	w, err := m.enter(c)
	if err != nil {
		return nil, c.explain(err)
	}
	conn, err := w.dial(c.ctx, target.String())
	if errors.Is(err, errNoDial) {
		conn, err = m.dialForward(c, target)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	return conn, nil
}

// errNoDial says that a way has no connections.
var errNoDial = errors.New("the guest's agent has no connections")

func (w *agentWay) dial(context.Context, string) (net.Conn, error) { return nil, errNoDial }

func (w *sshWay) dial(context.Context, string) (net.Conn, error) { return nil, errNoDial }

// target is where a connection goes, inside the guest.
func (m *Manager) target(ctx context.Context, ref, network, address string) (netip.AddrPort, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return netip.AddrPort{}, errors.New("network " + strconv.Quote(network) + " is not possible, use tcp")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return netip.AddrPort{}, errors.New("port " + strconv.Quote(port) + " is not a number from 1 to 65535")
	}
	ip := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if network == "tcp6" {
		ip = netip.IPv6Loopback()
	}
	if host != "" && host != "localhost" && host != ref {
		if ip, err = netip.ParseAddr(host); err != nil || ip.Zone() != "" {
			if inst, getErr := m.machines.Get(ctx, ref); getErr != nil || inst.Name != host {
				return netip.AddrPort{}, errors.New("host " + strconv.Quote(host) + ": use an IP address, or localhost for the guest itself")
			}
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	return netip.AddrPortFrom(ip, uint16(number)), nil
}

// guestAddr is an address inside a guest.
type guestAddr string

func (guestAddr) Network() string  { return "tcp" }
func (a guestAddr) String() string { return string(a) }
