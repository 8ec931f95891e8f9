//go:build cgo

package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Create implements vm.Store.
func (s *Store) Create(ctx context.Context, inst vm.Instance) (vm.Instance, error) {
	const op = "add VM"
	now := time.Now().UTC()
	if inst.Created.IsZero() {
		inst.Created = now
	}
	inst.Changed, inst.Version = now, 1
	record, err := json.Marshal(inst)
	if err == nil {
		err = s.write(ctx, func(tx *sql.Tx) error {
			_, err := tx.Exec(`INSERT INTO instances (id, name, state, lifetime, owner_pid, version, record)
				VALUES (?, ?, ?, ?, ?, ?, ?)`, columns(inst, record)...)
			return taken(err, op, inst.Name)
		})
	}
	if err != nil {
		return vm.Instance{}, s.fail(ctx, op, inst.Name, err)
	}
	return s.decode(ctx, op, inst.ID, record)
}

// Get implements vm.Store.
func (s *Store) Get(ctx context.Context, ref string) (vm.Instance, error) {
	const op = "get VM"
	var id string
	var record []byte
	err := s.retry(ctx, func() error {
		// No instance has another's ID for its name, so at most one matches.
		return s.reader.QueryRowContext(ctx, `SELECT id, record FROM instances WHERE id = ?1 OR name = ?1`, ref).
			Scan(&id, &record)
	})
	if err != nil {
		return vm.Instance{}, s.fail(ctx, op, ref, notFound(err, op, ref))
	}
	return s.decode(ctx, op, id, record)
}

// Update implements vm.Store.
func (s *Store) Update(ctx context.Context, next vm.Instance, state vm.State, version int64) (vm.Instance, error) {
	const op = "update VM"
	next.Changed, next.Version = time.Now().UTC(), version+1
	record, err := json.Marshal(next)
	if err == nil {
		err = s.write(ctx, func(tx *sql.Tx) error {
			if err := s.check(ctx, tx, op, next.ID, state, version); err != nil {
				return err
			}
			_, err := tx.Exec(`UPDATE instances
				SET name = ?2, state = ?3, lifetime = ?4, owner_pid = ?5, version = ?6, record = ?7
				WHERE id = ?1`, columns(next, record)...)
			return taken(err, op, next.Name)
		})
	}
	if err != nil {
		return vm.Instance{}, s.fail(ctx, op, next.Name, err)
	}
	return s.decode(ctx, op, next.ID, record)
}

// Delete implements vm.Store.
func (s *Store) Delete(ctx context.Context, id string, state vm.State, version int64) error {
	const op = "remove VM"
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := s.check(ctx, tx, op, id, state, version); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM instances WHERE id = ?`, id)
		return err
	})
	return s.fail(ctx, op, id, err)
}

// check fails unless the record of id has that state and version. The transaction
// holds the write lock, so it stays true until the end of it.
func (s *Store) check(ctx context.Context, tx *sql.Tx, op, id string, state vm.State, version int64) error {
	var gotState vm.State
	var gotVersion int64
	var record []byte
	err := tx.QueryRow(`SELECT state, version, record FROM instances WHERE id = ?`, id).
		Scan(&gotState, &gotVersion, &record)
	if err != nil {
		return notFound(err, op, id)
	}
	if gotState == state && gotVersion == version {
		return nil
	}
	current, err := s.decode(ctx, op, id, record)
	if err != nil {
		return err
	}
	return &vm.ConflictError{Current: current}
}

// columns returns inst's row in the order of the table's columns.
func columns(inst vm.Instance, record []byte) []any {
	return []any{
		inst.ID, inst.Name, string(inst.State), string(cmp.Or(inst.Config.Lifetime, vm.Ephemeral)),
		inst.Owner.PID, inst.Version, string(record),
	}
}

// taken turns a violated UNIQUE constraint into errors.ErrVMAlreadyExists.
func taken(err error, op, name string) error {
	if isTaken(err) {
		return &errors.Error{Kind: errors.ErrVMAlreadyExists, Op: op, VM: name}
	}
	return err
}

// notFound turns an empty result into errors.ErrVMNotFound.
func notFound(err error, op, ref string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return &errors.Error{Kind: errors.ErrVMNotFound, Op: op, VM: ref}
	}
	return err
}
