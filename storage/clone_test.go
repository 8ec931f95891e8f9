package storage_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

func overlayOn(t testing.TB, m *storage.Manager, path, base, format string) storage.Image {
	t.Helper()
	img, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: path, Base: base, BaseFormat: format})
	require.NoError(t, err)
	return img
}

func TestClone(t *testing.T) {
	m, root := manage(t)
	data := filled(4, 16)
	for _, format := range []string{storage.FormatRaw, storage.FormatQcow2} {
		source := imageOf(t, format, data)
		seen := progress{t: t}
		img, err := m.Clone(t.Context(), storage.CloneSpec{Source: source, Format: format, Path: filepath.Join(root, "vm", format),
			For: storage.For{Owner: "vm", Disk: "disk0"}, Progress: seen.report})
		require.NoError(t, err)
		requireContent(t, data, img.Path, format)
		row := requireRow(t, m, img)
		require.Equal(t, []any{"vm", "disk0", storage.KindDisk}, []any{row.Owner, row.Disk, row.Kind})
		seen.requireDone(t)
		info, err := os.Stat(source)
		require.NoError(t, err)
		require.Equal(t, info.Size(), seen.total, "bytes of the file")
		require.Less(t, img.Allocated, int64(len(data)), "holes stay holes")
		mode, err := os.Stat(img.Path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), mode.Mode())

		patch(t, img.Path, format, 0, []byte("changed in the copy"+string(make([]byte, 493))))
		requireContent(t, data, source, format)
	}
}

// TestCloneOneLayer: the copy stands on the same base, whichever way that was named.
func TestCloneOneLayer(t *testing.T) {
	m, root := manage(t)
	data := filled(5, 4)
	base := imageOf(t, "raw", data)
	over := filepath.Join(filepath.Dir(base), "over")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", filepath.Base(base), "-F", "raw", over)
	copy(data[mib:], "written above")
	patch(t, over, "qcow2", mib, data[mib:mib+512])
	qemuImg(t, "snapshot", "-c", "kept", over)

	img, err := m.Clone(t.Context(), storage.CloneSpec{Source: over, Format: "qcow2", Path: filepath.Join(root, "copy")})
	require.NoError(t, err)
	require.Equal(t, base, img.Base)
	require.Equal(t, storage.KindOverlay, requireRow(t, m, img).Kind)
	requireContent(t, data, img.Path, "qcow2")
	requireSound(t, img.Path)
	require.Contains(t, qemuImg(t, "snapshot", "-l", img.Path), "kept")

	require.NoError(t, os.Remove(over))
	requireContent(t, data, img.Path, "qcow2")
}

func TestCloneRefuses(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "qcow2", filled(1, 1))
	spec := storage.CloneSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new")}
	_, err := m.Clone(t.Context(), spec)
	var format *storage.FormatError
	require.ErrorAs(t, err, &format)
	spec.Format = "qcow2"
	pid := hold(t, "-f", "qcow2", source)
	_, err = m.Clone(t.Context(), spec)
	requireHeld(t, err, source, pid)
	require.NoDirExists(t, root)
}

// TestCloneOfWhatIsRead: a base that guests read can be copied.
func TestCloneOfWhatIsRead(t *testing.T) {
	m, root := manage(t)
	data := filled(6, 2)
	source := imageOf(t, "raw", data)
	hold(t, "-r", "-f", "raw", source)
	img, err := m.Clone(t.Context(), storage.CloneSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new")})
	require.NoError(t, err)
	requireContent(t, data, img.Path, "raw")
}

// TestCloneKeepsWritersOff: while an image is copied no QEMU program opens it for writing.
func TestCloneKeepsWritersOff(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(7, 16))
	tried := false
	_, err := m.Clone(t.Context(), storage.CloneSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new"),
		Progress: func(int64, int64) {
			if !tried {
				tried = true
				requireNotOpened(t, source)
			}
		}})
	require.NoError(t, err)
	require.True(t, tried)
	patch(t, source, "raw", 0, make([]byte, 512))
}

func TestCloneCancelled(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(8, 32))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := m.Clone(ctx, storage.CloneSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new"),
		Progress: func(done, total int64) {
			if done > total/4 {
				cancel()
			}
		}})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errors.ErrImageCreation)
	requireEmpty(t, root)
	requireNoRows(t, m)
}

// TestCloneWhileWritten: a program that knows no locks spoils no copy unnoticed.
func TestCloneWhileWritten(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(9, 16))
	_, err := m.Clone(t.Context(), storage.CloneSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new"),
		Progress: func(int64, int64) { require.NoError(t, os.Truncate(source, 15*mib)) }})
	require.ErrorIs(t, err, errors.ErrImageCreation)
	requireEmpty(t, root)
}

func BenchmarkClone(b *testing.B) {
	m, root := manage(b)
	source := imageOf(b, "raw", filled(4, 64))
	for b.Loop() {
		img, err := m.Clone(b.Context(), storage.CloneSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new")})
		require.NoError(b, err)
		require.NoError(b, m.Delete(b.Context(), img.Path))
	}
}
