package memory

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
)

var _ snapshot.Records = (*Store)(nil)

// PutSnapshot implements snapshot.Records.
func (s *Store) PutSnapshot(ctx context.Context, r snapshot.Record) error {
	op := "record snapshot " + r.Name
	record, err := json.Marshal(r)
	if err != nil {
		return errors.Wrap(errors.ErrDatabase, op, r.VM, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, op, r.VM); err != nil {
		return err
	}
	if s.snaps[r.VM] == nil {
		s.snaps[r.VM] = map[string][]byte{}
	}
	s.snaps[r.VM][r.Name] = record
	return nil
}

// Snapshots implements snapshot.Records.
func (s *Store) Snapshots(ctx context.Context, vm string) ([]snapshot.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "list snapshots", vm); err != nil {
		return nil, err
	}
	var list []snapshot.Record
	for _, name := range slices.Sorted(maps.Keys(s.snaps[vm])) {
		var r snapshot.Record
		if err := json.Unmarshal(s.snaps[vm][name], &r); err != nil {
			return nil, errors.Wrap(errors.ErrDatabase, "list snapshots", vm, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// DropSnapshot implements snapshot.Records.
func (s *Store) DropSnapshot(ctx context.Context, vm, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "forget snapshot "+name, vm); err != nil {
		return err
	}
	delete(s.snaps[vm], name)
	return nil
}
