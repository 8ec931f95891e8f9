package maqet

import (
	"context"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// Fork starts a copy of a template and returns when its agent answers; see
// snapshot.Coordinator.Fork.
func (m *Maqet) Fork(ctx context.Context, template string, opts ...snapshot.ForkOption) (*Machine, error) {
	ctx, done, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	inst, err := m.Snapshot.Fork(ctx, template, opts...)
	if err != nil {
		return nil, err
	}
	return &Machine{m: m, id: inst.ID, name: inst.Name}, nil
}

// Capture makes a template of the running guest, which ends with that; see
// snapshot.Coordinator.Capture.
func (h *Machine) Capture(ctx context.Context, template string, opts ...snapshot.CaptureOption) (snapshot.Template, error) {
	return h.m.Snapshot.Capture(ctx, h.id, template, opts...)
}

// ResetToTemplate has a fork continue from its template again, as if nothing had happened
// since; see snapshot.Coordinator.ResetToTemplate.
func (h *Machine) ResetToTemplate(ctx context.Context, opts ...vm.StartOption) error {
	_, err := h.m.Snapshot.ResetToTemplate(ctx, h.id, opts...)
	return err
}
