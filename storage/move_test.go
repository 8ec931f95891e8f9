package storage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// TestMove gives an image another name and owner; what it holds stays, and so does what was
// in the way.
func TestMove(t *testing.T) {
	m, root := manage(t)
	ctx := t.Context()
	from, to := filepath.Join(root, "vm", "disk.qcow2"), filepath.Join(root, "template", "disk.qcow2")
	_, err := m.Create(ctx, storage.CreateSpec{Path: from, Format: storage.FormatQcow2, Size: 8 * mib, For: storage.For{Owner: "vm", Disk: "disk"}})
	require.NoError(t, err)
	qemuIO(t, "-f", "qcow2", "-c", "write -P 7 1M 1M", from)

	over := filepath.Join(root, "over.qcow2")
	_, err = m.Overlay(ctx, storage.OverlaySpec{Path: over, Base: from, BaseFormat: storage.FormatQcow2})
	require.NoError(t, err)
	spec := storage.MoveSpec{Path: from, To: to, For: storage.For{Owner: "template", Disk: "disk"}}
	_, err = m.Move(ctx, spec)
	require.ErrorIs(t, err, errors.ErrImageInUse, "an overlay would lose its base")
	require.FileExists(t, from)
	require.NoError(t, m.Delete(ctx, over))

	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o700))
	require.NoError(t, os.WriteFile(to, []byte("somebody's"), 0o600))
	_, err = m.Move(ctx, spec)
	require.ErrorIs(t, err, os.ErrExist)
	data, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "somebody's", string(data))
	require.FileExists(t, from)
	require.NoError(t, os.Remove(to))

	file, err := m.Move(ctx, spec)
	require.NoError(t, err)
	require.Equal(t, storage.KindDisk, file.Kind)
	require.NoFileExists(t, from)
	requireSound(t, to)
	require.NotContains(t, qemuIO(t, "-f", "qcow2", "-c", "read -P 7 1M 1M", to), "fail")
	files, err := m.Files(ctx, storage.FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, []any{to, "template", "disk", false}, []any{files[0].Path, files[0].Owner, files[0].Disk, files[0].Unfinished})

	_, err = m.Move(ctx, storage.MoveSpec{Path: from, To: over})
	require.ErrorIs(t, err, storage.ErrUnregistered)
	_, err = m.Move(ctx, storage.MoveSpec{Path: to, To: filepath.Join(t.TempDir(), "out")})
	require.ErrorIs(t, err, errors.ErrStorage, "it stays below the root folder")
	require.FileExists(t, to)
}

// TestGive changes whose an image is, also while it is in use.
func TestGive(t *testing.T) {
	m, root := manage(t)
	ctx := t.Context()
	path, over := filepath.Join(root, "vm", "disk.qcow2"), filepath.Join(root, "vm", "over.qcow2")
	_, err := m.Create(ctx, storage.CreateSpec{Path: path, Format: storage.FormatQcow2, Size: 8 * mib, For: storage.For{Owner: "vm", Disk: "disk"}})
	require.NoError(t, err)
	_, err = m.Overlay(ctx, storage.OverlaySpec{Path: over, Base: path, BaseFormat: storage.FormatQcow2, For: storage.For{Owner: "vm"}})
	require.NoError(t, err)
	require.NoError(t, m.Give(ctx, path, storage.For{Owner: "template", Disk: "disk"}))
	files, err := m.Files(ctx, storage.FileFilter{Owner: "template"})
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, []any{path, "disk", storage.KindDisk}, []any{files[0].Path, files[0].Disk, files[0].Kind})
	require.ErrorIs(t, m.Give(ctx, filepath.Join(root, "vm", "none"), storage.For{}), storage.ErrUnregistered)
	require.ErrorIs(t, m.Give(ctx, filepath.Join(t.TempDir(), "out"), storage.For{}), errors.ErrStorage)
}
