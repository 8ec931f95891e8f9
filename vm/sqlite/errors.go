//go:build cgo

package sqlite

import (
	"context"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// SchemaError says that a newer maqet made the database. Its kind is
// errors.ErrDatabase.
type SchemaError struct {
	Path  string
	Found int // version of the database's schema
	Known int // newest version that this program knows
}

// Error names the database and both versions.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("database %q has schema version %d, but this program knows versions up to %d only"+
		" (use a newer maqet, or another database)", e.Path, e.Found, e.Known)
}

// Unwrap returns errors.ErrDatabase.
func (e *SchemaError) Unwrap() error { return errors.ErrDatabase }

// fail makes the error that a method returns out of whatever went wrong in it. What
// carries a kind, or is a conflict, is an answer and not a failure of the store.
func (s *Store) fail(ctx context.Context, op, ref string, err error) error {
	var conflict *vm.ConflictError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errors.ErrMaqet), errors.As(err, &conflict):
		return err
	case ctx.Err() != nil:
		// SQLite's "interrupted" says less than why it was.
		return errors.Wrap(errors.ErrDatabase, op, ref, ctx.Err())
	case isBusy(err):
		return &errors.Error{
			Kind: errors.ErrDatabaseLock, Op: op, VM: ref, Err: err,
			Msg:  fmt.Sprintf("another process kept database %q locked for more than %v", s.path, s.busy),
			Hint: "find it with: fuser -v " + s.path,
		}
	}
	return errors.Wrap(errors.ErrDatabase, op, ref, err)
}

func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}

// isTaken reports whether err is a violated UNIQUE constraint.
func isTaken(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) &&
		(e.ExtendedCode == sqlite3.ErrConstraintUnique || e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey)
}

func isNotADatabase(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrNotADB
}
