//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/maqet/maqet/vm"
)

// listQuery selects by what has a column of its own. A list of values comes as a JSON
// array, so that one prepared statement serves every filter; NULL selects all.
const listQuery = `SELECT id, record FROM instances
	WHERE (?1 IS NULL OR state IN (SELECT value FROM json_each(?1)))
	AND (?2 IS NULL OR name IN (SELECT value FROM json_each(?2)) OR id IN (SELECT value FROM json_each(?2)))
	AND (?3 = '' OR lifetime = ?3)
	ORDER BY name`

// List implements vm.Store.
func (s *Store) List(ctx context.Context, f vm.Filter) ([]vm.Instance, error) {
	const op = "list VMs"
	var rows []row
	err := s.retry(ctx, func() (err error) {
		rows, err = s.query(ctx, f)
		return err
	})
	if err == nil {
		err = s.cache.decodeMissing(rows)
	}
	if err != nil {
		return nil, s.fail(ctx, op, "", err)
	}
	list := make([]vm.Instance, 0, len(rows))
	for _, r := range rows {
		if f.Matches(r.entry.inst) { // labels have no column
			list = append(list, r.entry.inst.Clone())
		}
	}
	return list, nil
}

// query returns the rows that f's columns select, with their cache entries where the
// cache has them.
func (s *Store) query(ctx context.Context, f vm.Filter) ([]row, error) {
	states, err := jsonArray(f.States)
	if err != nil {
		return nil, err
	}
	names, err := jsonArray(f.Names)
	if err != nil {
		return nil, err
	}
	result, err := s.reader.QueryContext(ctx, listQuery, states, names, string(f.Lifetime))
	if err != nil {
		return nil, err
	}
	defer result.Close()
	var rows []row
	var id, record sql.RawBytes // valid until the next row, not copied
	for result.Next() {
		if err := result.Scan(&id, &record); err != nil {
			return nil, err
		}
		rows = append(rows, s.cache.lookup(id, record))
	}
	return rows, result.Err()
}

// jsonArray returns values as a JSON array, or nil, which is NULL, when there are none.
func jsonArray[T any](values []T) (any, error) {
	if len(values) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(values)
	return string(data), err
}
