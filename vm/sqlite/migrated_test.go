//go:build cgo

package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/storetest"
)

// TestMigrationToSnapshots: a database with VMs from before there were files and snapshots
// keeps all VMs, and takes both.
func TestMigrationToSnapshots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	old, err := openSteps(t, path, migrations[:1])
	require.NoError(t, err)
	var want []vm.Instance
	for n := range 20 {
		inst, err := old.Create(t.Context(), storetest.Whole(n))
		require.NoError(t, err)
		want = append(want, inst)
	}
	require.NoError(t, old.Close())

	s, err := openSteps(t, path, migrations)
	require.NoError(t, err)
	got, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, want, got)
	files, err := s.Files(t.Context(), storage.FileFilter{})
	require.NoError(t, err)
	require.Empty(t, files)

	first := want[0]
	file := storage.File{Path: "/images/a", Owner: first.ID, Kind: storage.KindDisk, Format: storage.FormatQcow2}
	require.NoError(t, s.PutFile(t.Context(), file))
	require.NoError(t, s.PutSnapshot(t.Context(), snapshot.Record{VM: first.ID, Name: "a", Config: first.Config}))
	require.NoError(t, s.Delete(t.Context(), first.ID, first.State, first.Version))
	records, err := s.Snapshots(t.Context(), first.ID)
	require.NoError(t, err)
	require.Empty(t, records, "they go with a VM that is older than the table")
	files, err = s.Files(t.Context(), storage.FileFilter{Owner: first.ID})
	require.NoError(t, err)
	require.Equal(t, []storage.File{file}, files)
	require.NoError(t, s.Close())

	// The backup is the database as it was, and the old maqet refuses the new one.
	backup, err := sql.Open("sqlite3", path+".v1.bak")
	require.NoError(t, err)
	defer backup.Close()
	require.Equal(t, len(want), query[int](t, backup, "SELECT count(*) FROM instances"))
	require.Zero(t, query[int](t, backup, "SELECT count(*) FROM sqlite_schema WHERE name = 'files'"))
	_, err = openSteps(t, path, migrations[:1])
	var schema *SchemaError
	require.ErrorAs(t, err, &schema)
	require.ErrorIs(t, err, errors.ErrDatabase)
}

// TestFilesAndSnapshotsAreShared: what one process records another one sees.
func TestFilesAndSnapshotsAreShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	a, err := openSteps(t, path, migrations)
	require.NoError(t, err)
	b, err := openSteps(t, path, migrations)
	require.NoError(t, err)
	file := storage.File{Path: "/images/a", Kind: storage.KindDisk, Format: storage.FormatQcow2, Unfinished: true}
	require.NoError(t, a.PutFile(t.Context(), file))
	require.NoError(t, a.PutSnapshot(t.Context(), snapshot.Record{VM: "id", Name: "a", Pending: snapshot.Creating}))
	files, err := b.Files(t.Context(), storage.FileFilter{Path: file.Path})
	require.NoError(t, err)
	require.Equal(t, []storage.File{file}, files)
	records, err := b.Snapshots(t.Context(), "id")
	require.NoError(t, err)
	require.Equal(t, snapshot.Creating, records[0].Pending)
	require.NoError(t, b.DropFile(t.Context(), file.Path))
	require.NoError(t, b.DropSnapshot(t.Context(), "id", "a"))
	files, err = a.Files(t.Context(), storage.FileFilter{})
	require.NoError(t, err)
	require.Empty(t, files)
}
