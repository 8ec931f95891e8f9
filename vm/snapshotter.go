package vm

import (
	"context"
	"time"
)

// Snapshotter is a [Backend] that makes and keeps snapshots by its own means. Package snapshot
// leaves them to it, and keeps no images and no memory of such VMs itself.
//
// A method that changes something is called under the VM's [Reservation], and by nobody else
// meanwhile. It is whole or not done when it returns, also when ctx ends: what can't be stopped
// short is waited for. Where the host is out of reach so that nobody knows, the error is
// errors.ErrHostUnreachable.
type Snapshotter interface {
	// SnapshotBlockers says all that stands in the way of what is asked for, as far as it can be
	// seen beforehand. A snapshot to be loaded or deleted that is not there is
	// errors.ErrSnapshotNotFound, one to be made that is there errors.ErrSnapshotExists.
	SnapshotBlockers(ctx context.Context, inst Instance, act SnapshotAct, spec SnapshotSpec) ([]SnapshotBlocker, error)
	// CreateSnapshot makes a snapshot of inst. Without External that is of its disks, within
	// their images, and if it is live of its memory. The guest goes on as it was before.
	// errors.ErrSnapshotExists, ErrSnapshotCreation; ErrAgentUnavailable for MustFreeze.
	CreateSnapshot(ctx context.Context, inst Instance, spec SnapshotSpec) error
	// LoadSnapshot brings the disks of inst, which is not live and stays so, back to a snapshot.
	// Its memory is loaded by Launch: see LaunchSpec.Restore. errors.ErrSnapshotNotFound.
	LoadSnapshot(ctx context.Context, inst Instance, name string) error
	// DeleteSnapshot deletes one; its children become its parent's. That there is none is no
	// error: then what an interrupted CreateSnapshot of that name may have left is deleted.
	DeleteSnapshot(ctx context.Context, inst Instance, name string) error
	// ListSnapshots returns all of inst, also those that others have made, in the order in which
	// they were made.
	ListSnapshots(ctx context.Context, inst Instance) ([]BackendSnapshot, error)
	// SnapshotLayers returns the images that disks are written in since external snapshots were
	// made, which Instance.Layers is to say.
	SnapshotLayers(ctx context.Context, inst Instance) ([]Layer, error)
}

// SnapshotAct is what is to be done with a snapshot.
type SnapshotAct string

// Values of SnapshotAct.
const (
	CreatingSnapshot SnapshotAct = "create"
	LoadingSnapshot  SnapshotAct = "load"
	DeletingSnapshot SnapshotAct = "delete"
)

// SnapshotSpec says which snapshot is meant, and how one is to be made.
type SnapshotSpec struct {
	Name        string
	Description string
	External    bool // overlays over the disks of a live VM, without memory; else within the images
	NoMemory    bool // of one to be loaded: its disks only
	// Layers are the images that an External one puts over the disks: Reservation.MakeLayers made
	// them.
	Layers []Layer
	// Freeze has the guest's file systems frozen for an External one, if its agent can.
	// MustFreeze fails if it can't.
	Freeze, MustFreeze bool
}

// SnapshotBlocker is something that stands in the way of a snapshot.
type SnapshotBlocker struct {
	Device string // a disk, share or device of the VM; empty: none in particular
	Reason string
	Fix    string
}

// BackendSnapshot is a snapshot that a [Snapshotter] keeps.
type BackendSnapshot struct {
	Name        string
	Description string
	Parent      string // the snapshot it was made on; empty: none
	Created     time.Time
	Current     bool  // the disks stand on it
	External    bool  // overlays; else within the images
	Memory      bool  // with the guest's memory
	Size        int64 // of the saved machine, in bytes; 0 where it is not known
	Disks       []BackendSnapshotDisk
}

// BackendSnapshotDisk is a disk's part of a BackendSnapshot.
type BackendSnapshotDisk struct {
	Name string // the disk's
	Path string // the image that holds it, on the backend's host; empty where it is not known
}
