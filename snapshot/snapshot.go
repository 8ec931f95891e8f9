package snapshot

import "time"

// Kind is what a snapshot holds, and where.
type Kind string

// Values of Kind.
const (
	Internal Kind = "internal" // the disks, inside their images; made while the VM is not live
	Memory   Kind = "memory"   // disks, memory and devices, inside the images; made while it is
	External Kind = "external" // the disks: the images as they were, below those written since
)

// Status says how far what is recorded of a snapshot is what the images hold.
type Status string

// Values of Status.
const (
	OK      Status = "ok"      // whole
	Foreign Status = "foreign" // in images of the VM, but not made by maqet
	Partial Status = "partial" // not on all of the disks it was made of
	Missing Status = "missing" // recorded, but on none of them any more
	// Unfinished ones are being made, deleted, committed or streamed, or were when somebody
	// died: the next operation on the VM, or its next start, finishes or undoes that.
	Unfinished Status = "unfinished"
)

// Snapshot is what is known of a snapshot. It is a copy.
type Snapshot struct {
	Name   string `json:"name"`
	ID     string `json:"id,omitempty"` // UUID; empty for foreign ones
	Kind   Kind   `json:"kind"`
	Status Status `json:"status"`
	// Pending is the operation that is under way on it, or was when somebody died; empty: none.
	Pending     Pending   `json:"pending,omitempty"`
	Created     time.Time `json:"created"`
	Description string    `json:"description,omitempty"`
	// Parent is the snapshot that the disks stood on when this one was made; empty: none.
	Parent string `json:"parent,omitempty"`
	// Current is true for the one that the disks stand on now.
	Current bool `json:"current,omitempty"`
	// VMClock is for how long the guest had run; 0 where it is not known.
	VMClock time.Duration `json:"vm_clock,omitempty"`
	// Memory is true when it has the memory and the devices, besides the disks.
	Memory bool `json:"memory"`
	// Size is what the saved machine takes, in bytes; of an external snapshot, what has been
	// written since on the host.
	Size int64 `json:"size"`
	// Disks has a row for each disk that belongs to it, in the order of the configuration.
	Disks []Disk `json:"disks"`
}

// Disk is a disk's part of a snapshot.
type Disk struct {
	Name    string `json:"name"`         // the disk's
	Path    string `json:"path"`         // the image that holds it
	Present bool   `json:"present"`      // it is there
	ID      string `json:"id,omitempty"` // qcow2's own, of an internal snapshot
}
