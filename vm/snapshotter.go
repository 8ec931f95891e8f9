package vm

import (
	"context"
	"time"
)

// Snapshotter is a [Backend] that makes and keeps snapshots by its own means.
type Snapshotter interface {
	// CreateSnapshot makes a snapshot of inst, with its memory if it runs, unless spec says
	// otherwise. errors.ErrSnapshotExists, ErrSnapshotBlocked, ErrSnapshotCreation.
	CreateSnapshot(ctx context.Context, inst Instance, spec SnapshotSpec) error
	// LoadSnapshot brings inst back. It runs afterwards if it ran when the snapshot was made and
	// the snapshot has its memory. errors.ErrSnapshotNotFound.
	LoadSnapshot(ctx context.Context, inst Instance, name string) error
	// DeleteSnapshot deletes one; its children become its parent's. errors.ErrSnapshotNotFound.
	DeleteSnapshot(ctx context.Context, inst Instance, name string) error
	// ListSnapshots returns all of inst, also those that others have made.
	ListSnapshots(ctx context.Context, inst Instance) ([]BackendSnapshot, error)
}

// SnapshotSpec says which snapshot to make.
type SnapshotSpec struct {
	Name     string
	External bool // overlays over the disks, without memory; else within the images
	NoMemory bool // of the disks only
}

// BackendSnapshot is a snapshot that a [Snapshotter] keeps.
type BackendSnapshot struct {
	Name     string
	Parent   string // the snapshot it was made on; empty: none
	Created  time.Time
	Current  bool // the disks stand on it
	External bool
	Memory   bool // with the guest's memory
}
