package maqet

import (
	"context"
	"path/filepath"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/sqlite"
)

// recorded is where everything is recorded.
type recorded struct {
	vms       vm.Store
	files     storage.Registry
	snapshots snapshot.Records
}

// openRecords takes from the caller's store what it can record, and keeps the rest in a
// database of maqet's own.
func (m *Maqet) openRecords(s *settings) (r recorded, err error) {
	r.vms = s.store
	r.files, _ = s.store.(storage.Registry)
	r.snapshots, _ = s.store.(snapshot.Records)
	if r.vms != nil && r.files != nil && r.snapshots != nil {
		return r, nil
	}
	// A context of its own: New takes none, and opening waits for a file's lock at most.
	own, err := sqlite.Open(context.Background(), filepath.Join(s.data, "maqet.db"), sqlite.WithLogger(s.logger))
	if err != nil {
		return r, err
	}
	m.own("store", own.Close)
	if r.vms == nil {
		r.vms = own
	}
	if r.files == nil {
		r.files = own
	}
	if r.snapshots == nil {
		r.snapshots = own
	}
	return r, nil
}
