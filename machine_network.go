package maqet

import (
	"context"
	"net"

	"github.com/maqet/maqet/guest"
)

// SetLink plugs a network card's cable in, or pulls it; see qmp.Manager.SetLink.
func (h *Machine) SetLink(ctx context.Context, card string, up bool) error {
	return h.m.QMP.SetLink(ctx, h.id, card, up)
}

// Interfaces asks the guest for its network interfaces and their addresses.
func (h *Machine) Interfaces(ctx context.Context) ([]guest.Interface, error) {
	return h.m.Guest.Interfaces(ctx, h.id)
}

// Dial connects to a TCP port in the guest, "localhost:80" as seen from inside. It has the
// shape of http.Transport.DialContext; see guest.Manager.Dial.
func (h *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return h.m.Guest.Dial(ctx, h.id, network, address)
}
