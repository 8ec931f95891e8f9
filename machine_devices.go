package maqet

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// AddDevice plugs a device into the running VM, which also starts with it from then on;
// see qmp.Manager.AddDevice.
func (h *Machine) AddDevice(ctx context.Context, d qmp.Device) error {
	return h.m.QMP.AddDevice(ctx, h.id, d)
}

// RemoveDevice takes a device out of the VM, and returns once the guest let go of it; of a
// VM that does not run it is only forgotten. See qmp.Manager.RemoveDevice.
func (h *Machine) RemoveDevice(ctx context.Context, id string) error {
	return h.m.QMP.RemoveDevice(ctx, h.id, id)
}

// SetMemory changes how much memory the guest may use to size bytes, by its balloon, and
// returns once it does; see qmp.Manager.SetMemory.
func (h *Machine) SetMemory(ctx context.Context, size int64) error {
	return h.m.QMP.SetMemory(ctx, h.id, size)
}

// MemoryInfo says how much memory the VM has.
func (h *Machine) MemoryInfo(ctx context.Context) (qmp.MemoryInfo, error) {
	return h.m.QMP.MemoryInfo(ctx, h.id)
}
