package maqet

import (
	"context"

	"github.com/maqet/maqet/snapshot"
)

// Backup copies the VM's writable disks into a folder: whole at first, then what was written
// since; see snapshot.Coordinator.Backup.
func (h *Machine) Backup(ctx context.Context, dir string, opts ...snapshot.Option) (snapshot.Backup, error) {
	return h.m.Snapshot.Backup(ctx, h.id, dir, opts...)
}
