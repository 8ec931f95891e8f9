package snapshot

import (
	"context"
	"slices"

	"github.com/maqet/maqet/vm"
)

// listOfBackend returns the snapshots that a backend keeps, and those that are recorded and
// that it has not any more.
func (c *Coordinator) listOfBackend(ctx context.Context, backend vm.Snapshotter, inst vm.Instance) ([]Snapshot, error) {
	records, err := c.keeper.records.Snapshots(ctx, inst.ID)
	if err != nil {
		return nil, err
	}
	kept, err := backend.ListSnapshots(ctx, inst)
	if err != nil {
		return nil, err
	}
	list := make([]Snapshot, 0, len(kept))
	for _, rec := range records {
		there := slices.ContainsFunc(kept, func(b vm.BackendSnapshot) bool { return b.Name == rec.Name })
		if there {
			continue
		}
		s := rec.snapshot(inst)
		s.Memory, s.Status, s.Pending, s.Disks = rec.Kind == Memory, Missing, rec.Pending, []Disk{}
		if rec.Pending != "" {
			s.Status = Unfinished
		}
		list = append(list, s)
	}
	for _, b := range kept {
		list = append(list, shownOf(b, records))
	}
	slices.SortStableFunc(list, func(a, b Snapshot) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// shownOf is a snapshot of a backend as List shows it. Of one that maqet made there is a record
// of that very moment.
func shownOf(b vm.BackendSnapshot, records []Record) Snapshot {
	s := Snapshot{Name: b.Name, Kind: Internal, Status: Foreign, Created: b.Created, Description: b.Description, Parent: b.Parent,
		Current: b.Current, Memory: b.Memory, Size: b.Size, Disks: []Disk{}}
	switch {
	case b.External:
		s.Kind = External
	case b.Memory:
		s.Kind = Memory
	}
	for _, d := range b.Disks {
		s.Disks = append(s.Disks, Disk{Name: d.Name, Path: d.Path, Present: true})
	}
	for _, rec := range records {
		switch {
		case rec.Name != b.Name:
		case rec.Pending != "":
			s.ID, s.Status, s.Pending = rec.ID, Unfinished, rec.Pending
		case rec.Created.Equal(b.Created):
			s.ID, s.Status = rec.ID, OK
		}
	}
	return s
}
