//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/maqet/maqet/snapshot"
)

var _ snapshot.Records = (*Store)(nil)

// PutSnapshot implements snapshot.Records.
func (s *Store) PutSnapshot(ctx context.Context, r snapshot.Record) error {
	record, err := json.Marshal(r)
	if err == nil {
		err = s.writeQuietly(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec(`INSERT OR REPLACE INTO snapshots (vm, name, record) VALUES (?, ?, ?)`, r.VM, r.Name, string(record))
			return err
		})
	}
	return s.fail(ctx, "record snapshot "+r.Name, r.VM, err)
}

// Snapshots implements snapshot.Records.
func (s *Store) Snapshots(ctx context.Context, vm string) (list []snapshot.Record, err error) {
	err = s.retry(ctx, func() error {
		list, err = queryJSON[snapshot.Record](ctx, s.reader, `SELECT record FROM snapshots WHERE vm = ? ORDER BY name`, vm)
		return err
	})
	return list, s.fail(ctx, "list snapshots", vm, err)
}

// DropSnapshot implements snapshot.Records.
func (s *Store) DropSnapshot(ctx context.Context, vm, name string) error {
	err := s.writeQuietly(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM snapshots WHERE vm = ? AND name = ?`, vm, name)
		return err
	})
	return s.fail(ctx, "forget snapshot "+name, vm, err)
}
