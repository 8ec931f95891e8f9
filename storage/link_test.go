package storage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// TestLink gives an image a second name and owner; what it holds stays, and so does what was
// in the way.
func TestLink(t *testing.T) {
	m, root := manage(t)
	ctx := t.Context()
	from, to := filepath.Join(root, "vm", "disk.qcow2"), filepath.Join(root, "template", "disk.qcow2")
	_, err := m.Create(ctx, storage.CreateSpec{Path: from, Format: storage.FormatQcow2, Size: 8 * mib, For: storage.For{Owner: "vm", Disk: "disk"}})
	require.NoError(t, err)
	qemuIO(t, "-f", "qcow2", "-c", "write -P 7 1M 1M", from)

	over := filepath.Join(root, "over.qcow2")
	_, err = m.Overlay(ctx, storage.OverlaySpec{Path: over, Base: from, BaseFormat: storage.FormatQcow2})
	require.NoError(t, err)
	spec := storage.LinkSpec{Path: from, To: to, For: storage.For{Owner: "template", Disk: "disk"}}
	_, err = m.Link(ctx, spec)
	require.ErrorIs(t, err, errors.ErrImageInUse, "an overlay would lose its base")
	require.FileExists(t, from)
	require.NoError(t, m.Delete(ctx, over))

	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o700))
	require.NoError(t, os.WriteFile(to, []byte("somebody's"), 0o600))
	_, err = m.Link(ctx, spec)
	require.ErrorIs(t, err, os.ErrExist)
	data, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "somebody's", string(data))
	require.FileExists(t, from)
	require.NoError(t, os.Remove(to))

	file, err := m.Link(ctx, spec)
	require.NoError(t, err)
	require.Equal(t, storage.KindDisk, file.Kind)
	require.FileExists(t, from)
	require.NoError(t, m.Delete(ctx, from))
	requireSound(t, to)
	require.NotContains(t, qemuIO(t, "-f", "qcow2", "-c", "read -P 7 1M 1M", to), "fail")
	files, err := m.Files(ctx, storage.FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, []any{to, "template", "disk", false}, []any{files[0].Path, files[0].Owner, files[0].Disk, files[0].Unfinished})

	_, err = m.Link(ctx, storage.LinkSpec{Path: from, To: over})
	require.ErrorIs(t, err, storage.ErrUnregistered)
	_, err = m.Link(ctx, storage.LinkSpec{Path: to, To: filepath.Join(t.TempDir(), "out")})
	require.ErrorIs(t, err, errors.ErrStorage, "it stays below the root folder")
	require.FileExists(t, to)
}
