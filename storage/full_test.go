package storage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/storage"
)

// TestFullInTheMiddle: where the disk gets full, what was there is as it was, and nothing is left
// of what was to be.
func TestFullInTheMiddle(t *testing.T) {
	m, root := manage(t)
	require.NoError(t, os.MkdirAll(root, 0o700))
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=3m,mode=0700"); err != nil {
		testhost.Lacks(t, "mounting a tmpfs needs root:", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(root, 0)) })
	data := filled(80, 16)
	source, path := imageOf(t, "qcow2", data), filepath.Join(root, "vm", "disk")
	for _, op := range []string{"import", "clone", "convert"} {
		err := work{Op: op, Source: source, Path: path}.run(t.Context(), m, nil)
		require.ErrorIs(t, err, errors.ErrImageCreation, op)
		requireEmpty(t, root)
		requireNoRows(t, m)
	}
	_, err := m.Clone(t.Context(), storage.CloneSpec{Source: source, Format: "qcow2", Path: path})
	require.ErrorIs(t, err, unix.ENOSPC)

	over := overlayOn(t, m, path, source, "qcow2")
	for _, op := range []string{"rebase", "compress"} {
		err := work{Op: op, Path: over.Path}.run(t.Context(), m, nil)
		require.ErrorIs(t, err, errors.ErrStorage)
		got, err := m.Inspect(t.Context(), over.Path, "qcow2")
		require.NoError(t, err)
		require.Equal(t, source, got.Base)
		requireContent(t, data, over.Path, "qcow2")
		report, err := m.Check(t.Context(), over.Path, "qcow2")
		require.NoError(t, err)
		require.Zero(t, report.Corruptions)
		require.NoFileExists(t, path+".partial")
		_, err = m.RepairAll(t.Context(), over.Path)
		require.NoError(t, err)
	}
	requireContent(t, data, source, "qcow2")
}
