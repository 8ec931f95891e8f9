//go:build cgo

package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/vm"
)

// cacheSize bounds the cache: beyond it everything is forgotten at once. A record of a
// VM that has run takes about 15 KiB here.
const cacheSize = 2048

// cache remembers what records decode to: decoding is by far the largest part of
// listing many instances. An entry is used only for the very bytes that it was
// decoded from, so it can't be out of date. The zero value works.
type cache struct {
	mu      sync.RWMutex
	entries map[string]*entry // by ID
}

// entry is never changed, only replaced.
type entry struct {
	record []byte
	inst   vm.Instance
}

// row is a row of a result: the entry, or what to decode to get one.
type row struct {
	id     string
	record []byte // nil when there is an entry
	entry  *entry
}

// lookup returns the row with its entry if there is one, else with a copy of record.
func (c *cache) lookup(id, record []byte) row {
	c.mu.RLock()
	e := c.entries[string(id)]
	c.mu.RUnlock()
	if e != nil && bytes.Equal(e.record, record) {
		return row{id: e.inst.ID, entry: e}
	}
	return row{id: string(id), record: bytes.Clone(record)}
}

// decodeMissing gives every row its entry, working on all CPUs.
func (c *cache) decodeMissing(rows []row) error {
	var group errgroup.Group
	chunk := max(16, len(rows)/runtime.GOMAXPROCS(0)+1)
	for start := 0; start < len(rows); start += chunk {
		part := rows[start:min(start+chunk, len(rows))]
		group.Go(func() error {
			for i := range part {
				if err := c.decode(&part[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// decode gives r its entry and keeps it.
func (c *cache) decode(r *row) error {
	if r.entry != nil {
		return nil
	}
	e := &entry{record: r.record}
	if err := json.Unmarshal(r.record, &e.inst); err != nil {
		return err
	}
	r.entry = e
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= cacheSize {
		c.entries = make(map[string]*entry)
	}
	c.entries[r.id] = e
	return nil
}

// decode returns the instance in record, which it may keep.
func (s *Store) decode(ctx context.Context, op, id string, record []byte) (vm.Instance, error) {
	r := s.cache.lookup([]byte(id), record)
	if err := s.cache.decode(&r); err != nil {
		return vm.Instance{}, s.fail(ctx, op, id, err)
	}
	return r.entry.inst.Clone(), nil
}
