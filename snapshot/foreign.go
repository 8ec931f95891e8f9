package snapshot

import (
	"context"

	"github.com/google/uuid"

	"github.com/maqet/maqet/storage"
)

// adopt makes a record of a snapshot that somebody else made in the images of the VM, so that
// it can be loaded and deleted as one of maqet's own; nil: there is none of that name. It is
// recorded when an operation on it begins. One that is not whole, or not the only one of its
// name, is refused: what would become of the disks is not clear.
func (op *operation) adopt(ctx context.Context, name string) (*Record, error) {
	inst := op.r.Instance()
	held, err := op.look(ctx, inst, op.records)
	if err != nil {
		return nil, err
	}
	var found []Snapshot
	for _, s := range reconcile(inst, op.records, held) {
		if s.Status == Foreign && s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	blockers := found[0].notWhole()
	if len(found) > 1 {
		blockers = append(blockers, Blocker{Reason: "it is not the only one of that name, and not made by maqet",
			Fix: "delete the others with qemu-img while the VM is not live"})
	}
	if err := checkName(name); err != nil {
		blockers = append(blockers, Blocker{Reason: "its name can't be used: " + err.Error(), Fix: "work on it with qemu-img while the VM is not live"})
	}
	if len(blockers) > 0 {
		return nil, &BlockedError{Op: op.what, VM: inst.Name, Blockers: blockers}
	}
	rec := op.newRecord(name, found[0].Kind)
	rec.ID, rec.Created, rec.Description, rec.Parent = uuid.NewString(), found[0].Created, "", ""
	rec.VMClock, rec.Size = found[0].VMClock, found[0].Size
	for _, d := range found[0].Disks {
		rec.Disks = append(rec.Disks, RecordDisk{Name: d.Name, Path: d.Path, Format: storage.FormatQcow2})
		if held.memory(d) && rec.Vmstate == "" {
			rec.Vmstate = d.Name
		}
	}
	return &rec, nil
}

// notWhole names the disks that a snapshot is not on.
func (s Snapshot) notWhole() (list []Blocker) {
	for _, d := range s.Disks {
		if !d.Present {
			list = append(list, Blocker{Device: d.Name, Reason: "does not hold it", Fix: "delete it"})
		}
	}
	return list
}

// memory reports whether a disk's part of an internal snapshot has the memory.
func (h *holdings) memory(d Disk) bool {
	for _, s := range h.tables[d.Path] {
		if s.ID == d.ID && s.Memory > 0 {
			return true
		}
	}
	return false
}
