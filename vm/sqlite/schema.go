//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// applicationID marks a database as maqet's ("PRAGMA application_id"): "maqe".
const applicationID = 0x6d617165

// migration is SQL that brings a schema from one version to the next.
type migration string

// migrations is the history of the schema: the first makes version 1 of an empty
// database, the next version 2, and so on. Add to the end; never change one that was
// released.
//
// The columns beside record repeat what is in it, for the sake of filters; record is
// the whole instance in JSON.
var migrations = []migration{
	`CREATE TABLE instances (
		id        TEXT NOT NULL PRIMARY KEY,
		name      TEXT NOT NULL UNIQUE,
		state     TEXT NOT NULL,
		lifetime  TEXT NOT NULL,
		owner_pid INTEGER NOT NULL,
		version   INTEGER NOT NULL,
		record    TEXT NOT NULL
	) STRICT`,
	// A VM's snapshots go with it; files outlive it, as orphans.
	`CREATE TABLE files (
		path   TEXT NOT NULL PRIMARY KEY,
		owner  TEXT NOT NULL,
		base   TEXT NOT NULL,
		record TEXT NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE INDEX files_owner ON files (owner);
	CREATE INDEX files_base ON files (base);
	CREATE TABLE snapshots (
		vm     TEXT NOT NULL,
		name   TEXT NOT NULL,
		record TEXT NOT NULL,
		PRIMARY KEY (vm, name)
	) STRICT, WITHOUT ROWID;
	CREATE TRIGGER instance_snapshots AFTER DELETE ON instances
		BEGIN DELETE FROM snapshots WHERE vm = OLD.id; END`,
}

// prepare brings the database to the schema that steps end with. The caller holds the
// lock file.
func (s *Store) prepare(ctx context.Context, steps []migration) error {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var version int
	err = s.retry(ctx, func() (err error) {
		version, err = s.identify(ctx, conn)
		return err
	})
	switch {
	case err != nil:
		return err
	case version > len(steps):
		return &SchemaError{Path: s.path, Found: version, Known: len(steps)}
	}
	if err := s.retry(ctx, func() error { return enableWAL(ctx, conn) }); err != nil {
		return err
	}
	for isNew := version == 0; version < len(steps); version++ {
		if !isNew {
			err = s.backup(ctx, conn, version)
		}
		if err == nil {
			err = s.migrate(ctx, conn, version, steps[version])
		}
		if err != nil {
			return fmt.Errorf("migrate the schema to version %d: %w", version+1, err)
		}
	}
	return nil
}

// identify returns the version of the schema, 0 for an empty database. It writes
// nothing, so that a file that is not ours stays as it is.
func (s *Store) identify(ctx context.Context, conn *sql.Conn) (version int, err error) {
	var id, tables int
	err = conn.QueryRowContext(ctx, `SELECT
		(SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&id, &version, &tables)
	empty := id == 0 && version == 0 && tables == 0
	if isNotADatabase(err) || (err == nil && id != applicationID && !empty) {
		return 0, &errors.Error{
			Kind: errors.ErrDatabase, Op: "open store", Err: err,
			Msg: fmt.Sprintf("file %q is not a maqet database", s.path), Hint: "choose another path, or move the file away",
		}
	}
	return version, err
}

func enableWAL(ctx context.Context, conn *sql.Conn) error {
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the file system allows no write-ahead log: journal mode is %q", mode)
	}
	return nil
}

// migrate takes the database from version to the next one, all or nothing.
func (s *Store) migrate(ctx context.Context, conn *sql.Conn, version int, step migration) error {
	return s.transact(ctx, conn, func(tx *sql.Tx) error {
		// PRAGMA takes no parameters; these are our own numbers.
		_, err := tx.Exec(fmt.Sprintf("%s; PRAGMA application_id = %d; PRAGMA user_version = %d", step, applicationID, version+1))
		return err
	})
}

// backup keeps a copy of the database as PATH.vN.bak. It is complete as soon as it has
// that name; a copy that an earlier, failed migration made is replaced.
func (s *Store) backup(ctx context.Context, conn *sql.Conn, version int) (err error) {
	path := fmt.Sprintf("%s.v%d.bak", s.path, version)
	partial := path + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Made here because of its mode. SQLite accepts an empty file ("VACUUM INTO").
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			_ = os.Remove(partial)
		}
	}()
	if _, err := conn.ExecContext(ctx, "VACUUM INTO ?", partial); err != nil {
		return fmt.Errorf("back up to %q: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "store is migrated to a new schema", "path", s.path, "from", version, "backup", path)
	return nil
}
