//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/maqet/maqet/storage"
)

var _ storage.Registry = (*Store)(nil)

// PutFile implements storage.Registry.
func (s *Store) PutFile(ctx context.Context, file storage.File) error {
	record, err := json.Marshal(file)
	if err == nil {
		err = s.writeQuietly(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec(`INSERT OR REPLACE INTO files (path, owner, base, record) VALUES (?, ?, ?, ?)`,
				file.Path, file.Owner, file.Base, string(record))
			return err
		})
	}
	return s.fail(ctx, "register image", file.Path, err)
}

// Files implements storage.Registry.
func (s *Store) Files(ctx context.Context, f storage.FileFilter) (list []storage.File, err error) {
	// Only what is asked for is in the query: SQLite uses an index then.
	query, args := "SELECT record FROM files WHERE TRUE", []any{}
	for _, c := range []struct{ column, value string }{{"path", f.Path}, {"owner", f.Owner}, {"base", f.Base}} {
		if c.value != "" {
			query += " AND " + c.column + " = ?"
			args = append(args, c.value)
		}
	}
	err = s.retry(ctx, func() error {
		list, err = queryJSON[storage.File](ctx, s.reader, query+" ORDER BY path", args...)
		return err
	})
	return list, s.fail(ctx, "list registered images", "", err)
}

// DropFile implements storage.Registry.
func (s *Store) DropFile(ctx context.Context, path string) error {
	err := s.writeQuietly(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM files WHERE path = ?`, path)
		return err
	})
	return s.fail(ctx, "forget image", path, err)
}

// queryJSON returns the rows of a query for one column, which holds JSON.
func queryJSON[T any](ctx context.Context, db *sql.DB, query string, args ...any) (list []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var record sql.RawBytes // valid until the next row, not copied
	for rows.Next() {
		if err := rows.Scan(&record); err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal(record, &v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}
