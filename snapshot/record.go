package snapshot

import (
	"context"
	"encoding/json"
	"time"

	"github.com/maqet/maqet/vm"
)

// Pending is an operation on a snapshot that has begun and not ended. It is recorded before
// anything else is done, and is what a crash leaves.
type Pending string

// Values of Pending.
const (
	Creating   Pending = "creating"
	Loading    Pending = "loading"
	Deleting   Pending = "deleting"
	Committing Pending = "committing"
	Streaming  Pending = "streaming"
	// Capturing is no snapshot's: it is that of the layers which the VM of a template goes on in.
	Capturing Pending = "capturing"
)

// Record is what is recorded of a snapshot.
type Record struct {
	VM          string        `json:"vm"` // the VM's ID
	Name        string        `json:"name"`
	ID          string        `json:"id"` // UUID
	Kind        Kind          `json:"kind"`
	Created     time.Time     `json:"created"`
	Description string        `json:"description,omitempty"`
	Parent      string        `json:"parent,omitempty"`
	VMClock     time.Duration `json:"vm_clock,omitempty"`
	Size        int64         `json:"size,omitempty"` // of the saved machine
	// Disks are the images that hold it.
	Disks []RecordDisk `json:"disks"`
	// Vmstate names the disk whose image holds the memory; empty where there is none.
	Vmstate string `json:"vmstate,omitempty"`
	// Config, Plugged and Unplugged are the instance's when the snapshot was made; of a live VM
	// Machine, Accel and Version are the versioned machine, "kvm" or "tcg", and QEMU's version:
	// memory fits no other machine.
	Config    vm.Config       `json:"config"`
	Plugged   json.RawMessage `json:"plugged,omitempty"`
	Unplugged []string        `json:"unplugged,omitempty"`
	Machine   string          `json:"machine,omitempty"`
	Accel     string          `json:"accel,omitempty"`
	Version   string          `json:"version,omitempty"`
	// Pending is what is being done; Undo is what undoing or finishing it needs to know.
	Pending Pending         `json:"pending,omitempty"`
	Undo    json.RawMessage `json:"undo,omitempty"`
}

// RecordDisk is a disk's part of a Record.
type RecordDisk struct {
	Name   string `json:"name"`
	Path   string `json:"path"` // the image that holds it; of an external one the frozen one
	Format string `json:"format"`
	// Layer is the image that an external snapshot put over Path.
	Layer string `json:"layer,omitempty"`
}

// Records keeps records. Implementations are safe for concurrent use. Records of a VM are
// only written under its reservation, and vanish with the VM. vm/sqlite.Store and
// vm/memory.Store are Records.
type Records interface {
	// PutSnapshot records a snapshot, instead of what was recorded by its VM and Name.
	PutSnapshot(ctx context.Context, r Record) error
	// Snapshots returns the records of the VM with this ID, ordered by name.
	Snapshots(ctx context.Context, vm string) ([]Record, error)
	// DropSnapshot forgets one; one that is not recorded is no error.
	DropSnapshot(ctx context.Context, vm, name string) error
}
