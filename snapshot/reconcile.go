package snapshot

import (
	"cmp"
	"slices"
	"strings"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// reconcile compares what is recorded of a VM's snapshots with what its images hold.
func reconcile(inst vm.Instance, records []Record, h *holdings) []Snapshot {
	left := unclaimed{}
	for path, table := range h.tables {
		left[path] = slices.DeleteFunc(slices.Clone(table), func(s storage.Snapshot) bool { return isUndo(s.Name) })
	}
	list := make([]Snapshot, 0, len(records))
	for i := range records {
		rec := &records[i]
		if rec.Pending == Capturing {
			continue
		}
		s := rec.snapshot(inst)
		if rec.Kind == External {
			rec.inLayers(&s, h)
		} else {
			rec.inTables(&s, left)
		}
		s.settle(rec.Pending)
		list = append(list, s)
	}
	list = append(list, left.foreign(h.disks)...)
	slices.SortStableFunc(list, func(a, b Snapshot) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return list
}

// snapshot is the record of a snapshot as List shows it, but for what the images hold of it.
func (rec *Record) snapshot(inst vm.Instance) Snapshot {
	return Snapshot{Name: rec.Name, ID: rec.ID, Kind: rec.Kind, Created: rec.Created, Description: rec.Description,
		Parent: rec.Parent, Current: rec.Name == inst.Snapshot, VMClock: rec.VMClock, Memory: rec.Vmstate != "", Size: rec.Size}
}

// inTables claims the internal snapshots that the record is of.
func (rec *Record) inTables(s *Snapshot, left unclaimed) {
	for _, d := range rec.Disks {
		row := Disk{Name: d.Name, Path: d.Path}
		if held, ok := left.claim(d.Path, rec.Name); ok {
			row.Present, row.ID = true, held.ID
		}
		s.Disks = append(s.Disks, row)
	}
}

// inLayers says which of the images are there that an external snapshot kept, and what has been
// written above them since.
func (rec *Record) inLayers(s *Snapshot, h *holdings) {
	s.Size = 0
	for _, d := range rec.Disks {
		_, there := h.images[d.Path]
		s.Disks = append(s.Disks, Disk{Name: d.Name, Path: d.Path, Present: there})
		for _, img := range h.images {
			if img.Base == d.Path {
				s.Size += img.Allocated
			}
		}
	}
}

// settle derives the status from what is there of the disks.
func (s *Snapshot) settle(pending Pending) {
	s.Pending = pending
	there := 0
	for _, d := range s.Disks {
		if d.Present {
			there++
		}
	}
	switch {
	case pending != "" && pending != Loading: // which does not change the snapshot itself
		s.Status = Unfinished
	case there == len(s.Disks):
		s.Status = OK
	case there == 0:
		s.Status = Missing
	default:
		s.Status = Partial
	}
}

// unclaimed are the internal snapshots of each image that belong to no record, so far.
type unclaimed map[string][]storage.Snapshot

// claim takes the first of that name, which is the one that QEMU takes.
func (u unclaimed) claim(path, name string) (storage.Snapshot, bool) {
	i := slices.IndexFunc(u[path], func(s storage.Snapshot) bool { return s.Name == name })
	if i < 0 {
		return storage.Snapshot{}, false
	}
	s := u[path][i]
	u[path] = slices.Delete(u[path], i, i+1)
	return s, true
}

// foreign makes snapshots of all that is left in the images of disks: those of the same name
// belong together. QEMU allows two of one name in an image; they become two snapshots.
func (u unclaimed) foreign(disks []heldDisk) (list []Snapshot) {
	for _, d := range disks {
		for len(u[d.path]) > 0 {
			list = append(list, u.together(u[d.path][0].Name, disks))
		}
	}
	return list
}

func (u unclaimed) together(name string, disks []heldDisk) Snapshot {
	s := Snapshot{Name: name, Kind: Internal, Status: Foreign}
	for _, d := range disks {
		held, ok := u.claim(d.path, name)
		if ok || !d.spare {
			s.Disks = append(s.Disks, Disk{Name: d.name, Path: d.path, Present: ok, ID: held.ID})
		}
		if !ok {
			continue
		}
		if s.Created.IsZero() || held.Created.Before(s.Created) {
			s.Created = held.Created
		}
		if held.Memory > 0 {
			s.Kind, s.Memory, s.Size = Memory, true, held.Memory
		}
		s.VMClock = max(s.VMClock, held.VMClock)
	}
	return s
}
