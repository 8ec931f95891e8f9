package maqet

import (
	"context"

	"github.com/maqet/maqet/snapshot"
)

// Snapshot makes a snapshot of the VM, with its memory if it is live; see
// snapshot.Coordinator.Create.
func (h *Machine) Snapshot(ctx context.Context, name string, opts ...snapshot.Option) (snapshot.Snapshot, error) {
	return h.m.Snapshot.Create(ctx, h.id, name, opts...)
}

// Load brings the VM back to a snapshot; see snapshot.Coordinator.Load.
func (h *Machine) Load(ctx context.Context, name string, opts ...snapshot.Option) error {
	return h.m.Snapshot.Load(ctx, h.id, name, opts...)
}

// Snapshots lists the VM's snapshots; see snapshot.Coordinator.List.
func (h *Machine) Snapshots(ctx context.Context) ([]snapshot.Snapshot, error) {
	return h.m.Snapshot.List(ctx, h.id)
}

// DeleteSnapshot deletes a snapshot of the VM; see snapshot.Coordinator.Delete.
func (h *Machine) DeleteSnapshot(ctx context.Context, name string, opts ...snapshot.Option) error {
	return h.m.Snapshot.Delete(ctx, h.id, name, opts...)
}

// CommitSnapshot makes what was written since an external snapshot part of the images that it
// kept, and forgets it; see snapshot.Coordinator.Commit.
func (h *Machine) CommitSnapshot(ctx context.Context, name string, opts ...snapshot.Option) error {
	return h.m.Snapshot.Commit(ctx, h.id, name, opts...)
}

// StreamSnapshot makes the disks stand on nothing that an external snapshot kept, and forgets
// it; see snapshot.Coordinator.Stream.
func (h *Machine) StreamSnapshot(ctx context.Context, name string, opts ...snapshot.Option) error {
	return h.m.Snapshot.Stream(ctx, h.id, name, opts...)
}

// DropSnapshot gives up what was written since an external snapshot, and forgets it; see
// snapshot.Coordinator.Drop.
func (h *Machine) DropSnapshot(ctx context.Context, name string, opts ...snapshot.Option) error {
	return h.m.Snapshot.Drop(ctx, h.id, name, opts...)
}

// SnapshotBlockers says what stands in the way of a snapshot; see snapshot.Coordinator.Blockers.
func (h *Machine) SnapshotBlockers(ctx context.Context, opts ...snapshot.Option) ([]snapshot.Blocker, error) {
	return h.m.Snapshot.Blockers(ctx, h.id, opts...)
}
