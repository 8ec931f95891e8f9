//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func openSteps(t *testing.T, path string, steps []migration) (*Store, error) {
	t.Helper()
	s, err := open(context.Background(), path, steps)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, s.Close()) })
	}
	return s, err
}

func query[T any](t *testing.T, db *sql.DB, query string) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRow(query).Scan(&v), query)
	return v
}

// Each setting is asked for on the connection, because the driver ignores parameters
// that it does not know.
func TestConnectionSettings(t *testing.T) {
	s, err := openSteps(t, filepath.Join(t.TempDir(), "vms.db"), migrations)
	require.NoError(t, err)
	for _, db := range []*sql.DB{s.writer, s.reader} {
		require.Equal(t, "wal", query[string](t, db, "PRAGMA journal_mode"))
		require.Equal(t, busySlice.Milliseconds(), query[int64](t, db, "PRAGMA busy_timeout"))
	}
	require.Equal(t, 1, query[int](t, s.writer, "PRAGMA synchronous"), "NORMAL")
	require.Equal(t, walLimit, query[int](t, s.writer, "PRAGMA journal_size_limit"))
	require.Equal(t, 1, query[int](t, s.reader, "PRAGMA query_only"))
	require.Equal(t, len(migrations), query[int](t, s.reader, "PRAGMA user_version"))
	require.Equal(t, applicationID, query[int](t, s.reader, "PRAGMA application_id"))
	require.Equal(t, 1, query[int](t, s.reader, "SELECT strict FROM pragma_table_list WHERE name = 'instances'"))

	_, err = s.reader.Exec("DELETE FROM instances")
	require.Error(t, err, "readers can't write")
	tx, err := s.writer.Begin()
	require.NoError(t, err)
	other, err := openSteps(t, s.path, migrations)
	require.NoError(t, err)
	_, err = other.writer.Begin()
	require.True(t, isBusy(err), "the write lock is taken by BEGIN: %v", err)
	require.NoError(t, tx.Rollback())
}

// The log must not stay as large as the largest burst has made it.
func TestLogIsCutDown(t *testing.T) {
	s, err := openSteps(t, filepath.Join(t.TempDir(), "vms.db"), migrations)
	require.NoError(t, err)
	_, err = s.writer.Exec("CREATE TABLE big (x BLOB); INSERT INTO big VALUES (randomblob(20000000))")
	require.NoError(t, err)
	for n := range 3 {
		_, err = s.Create(t.Context(), vm.Instance{ID: string(rune('a' + n)), Name: string(rune('a' + n))})
		require.NoError(t, err)
	}
	info, err := os.Stat(s.path + "-wal")
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(walLimit))
}

func TestMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	first := migrations[:1]
	s, err := openSteps(t, path, first)
	require.NoError(t, err)
	inst, err := s.Create(t.Context(), vm.Instance{ID: "id", Name: "name", State: vm.Created})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoFileExists(t, path+".v0.bak", "a new database needs no backup")

	steps := append(append([]migration{}, first...),
		"ALTER TABLE instances ADD COLUMN second TEXT; UPDATE instances SET second = 'two'",
		"ALTER TABLE instances ADD COLUMN third TEXT")
	s, err = openSteps(t, path, steps)
	require.NoError(t, err)
	require.Equal(t, 3, query[int](t, s.reader, "PRAGMA user_version"))
	require.Equal(t, "two", query[string](t, s.reader, "SELECT second FROM instances"))
	got, err := s.Get(t.Context(), "name")
	require.NoError(t, err)
	require.Equal(t, inst, got)

	for version, columns := range map[string]int{"v1": 7, "v2": 8} {
		backup := path + "." + version + ".bak"
		info, err := os.Stat(backup)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		db, err := sql.Open("sqlite3", backup)
		require.NoError(t, err)
		defer db.Close()
		require.Equal(t, columns, query[int](t, db, "SELECT count(*) FROM pragma_table_info('instances')"))
		require.Equal(t, "name", query[string](t, db, "SELECT name FROM instances"))
	}

	// What is restored by hand is a database like any other.
	require.NoError(t, s.Close())
	require.NoError(t, os.Rename(path+".v1.bak", path))
	s, err = openSteps(t, path, first)
	require.NoError(t, err)
	_, err = s.Get(t.Context(), "name")
	require.NoError(t, err)
}

func TestMigrationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	s, err := openSteps(t, path, migrations[:1])
	require.NoError(t, err)
	_, err = s.Create(t.Context(), vm.Instance{ID: "id", Name: "name", State: vm.Created})
	require.NoError(t, err)
	require.NoError(t, s.Close())

	steps := append(append([]migration{}, migrations[:1]...), "ALTER TABLE instances ADD COLUMN second TEXT; DROP TABLE missing")
	for range 2 { // the second try finds the backup of the first
		_, err = openSteps(t, path, steps)
		require.ErrorIs(t, err, errors.ErrDatabase)
		require.ErrorContains(t, err, "version 2")
	}
	require.FileExists(t, path+".v1.bak")
	require.NoFileExists(t, path+".v1.bak.partial")

	s, err = openSteps(t, path, migrations[:1])
	require.NoError(t, err)
	require.Equal(t, 7, query[int](t, s.reader, "SELECT count(*) FROM pragma_table_info('instances')"), "undone as a whole")
	_, err = s.Get(t.Context(), "name")
	require.NoError(t, err)
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	for n := range cacheSize + 10 {
		r := c.lookup([]byte{byte(n), byte(n >> 8)}, []byte(`{}`))
		require.Nil(t, r.entry)
		require.NoError(t, c.decode(&r))
	}
	require.Len(t, c.entries, 10)
}
