package maqet

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/qmp"
)

// QMP sends a command to QEMU, within the policy, and returns its answer.
func (h *Machine) QMP(ctx context.Context, command string, args any) (json.RawMessage, error) {
	return h.m.QMP.Execute(ctx, h.id, command, args)
}

// Events delivers QEMU's events by name, or all, until ctx or the guest ends.
func (h *Machine) Events(ctx context.Context, names ...string) (<-chan qmp.Event, error) {
	return h.m.QMP.Events(ctx, h.id, names...)
}

// Await returns the first event for which match is true; see qmp.Manager.Await.
func (h *Machine) Await(ctx context.Context, match func(qmp.Event) bool, names ...string) (qmp.Event, error) {
	return h.m.QMP.Await(ctx, h.id, match, names...)
}

// Supports reports whether this VM's QEMU has a command that takes the arguments; see
// qmp.Schema.Supports.
func (h *Machine) Supports(ctx context.Context, command string, arguments ...string) (bool, error) {
	return h.m.QMP.Supports(ctx, h.id, command, arguments...)
}

// Transcript writes what goes over QMP to a file, until it is closed or the guest ends;
// see qmp.Manager.Transcript.
func (h *Machine) Transcript(ctx context.Context, path string, opts ...qmp.TranscriptOption) (*qmp.Transcript, error) {
	return h.m.QMP.Transcript(ctx, h.id, path, opts...)
}
