//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/maqet/maqet/errors"
)

// write runs fn in a transaction that holds the write lock, and tells everybody when
// it is done. An error of fn undoes all of it.
func (s *Store) write(ctx context.Context, fn func(*sql.Tx) error) error {
	err := s.writeQuietly(ctx, fn)
	if err == nil {
		s.ring(ctx)
	}
	return err
}

// writeQuietly is write for what is no instance: who waits for changes of those is not told.
func (s *Store) writeQuietly(ctx context.Context, fn func(*sql.Tx) error) error {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.transact(ctx, conn, fn)
}

// transact runs fn in a transaction on conn. Only the wait for the write lock heeds
// ctx: what follows takes microseconds, and is better whole than interrupted.
func (s *Store) transact(ctx context.Context, conn *sql.Conn, fn func(*sql.Tx) error) error {
	var tx *sql.Tx
	err := s.retry(ctx, func() (err error) {
		tx, err = conn.BeginTx(context.WithoutCancel(ctx), nil)
		return err
	})
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// retry repeats fn while it fails because the database is locked, each time after
// SQLite has waited for busySlice. It gives up after the busy time-out, or when ctx
// ends.
func (s *Store) retry(ctx context.Context, fn func() error) error {
	deadline := time.Now().Add(s.busy)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := fn()
		if !isBusy(err) || time.Now().After(deadline) {
			return err
		}
	}
}
