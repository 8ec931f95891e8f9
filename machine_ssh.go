package maqet

import (
	"context"

	"github.com/maqet/maqet/guest"
)

// SSH connects to the guest's ssh server; see guest.Manager.SSH. Close the connection when
// it is not needed any more.
func (h *Machine) SSH(ctx context.Context, opts ...guest.SSHOption) (*guest.SSH, error) {
	return h.m.Guest.SSH(ctx, h.id, opts...)
}
