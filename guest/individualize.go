package guest

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Individualize makes a guest that continues from a template somebody of its own.
func (m *Manager) Individualize(ctx context.Context, ref string, id vm.Identity) error {
	return errors.New("not there yet")
}
