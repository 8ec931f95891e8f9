package maqet

import "context"

// Migrate moves the guest, which runs on meanwhile, to another backend; see vm.Manager.Migrate.
func (h *Machine) Migrate(ctx context.Context, backend string) error {
	_, err := h.m.VM.Migrate(ctx, h.id, backend)
	return err
}
