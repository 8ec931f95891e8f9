package storage_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// imported takes an image with data into the manager's care.
func imported(t testing.TB, m *storage.Manager, path, format string, data []byte) storage.Image {
	t.Helper()
	img, err := m.Import(t.Context(), storage.ImportSpec{Source: imageOf(t, format, data), Format: format, Path: path})
	require.NoError(t, err)
	return img
}

func TestResize(t *testing.T) {
	m, root := manage(t)
	data := filled(20, 4)
	for _, format := range []string{storage.FormatRaw, storage.FormatQcow2} {
		img := imported(t, m, filepath.Join(root, format), format, data)
		grown, err := m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: format, Size: 6 * mib})
		require.NoError(t, err)
		require.EqualValues(t, 6*mib, grown.Size)
		requireRow(t, m, grown)
		requireContent(t, append(data[:4*mib:4*mib], make([]byte, 2*mib)...), img.Path, format)

		spec := storage.ResizeSpec{Path: img.Path, Format: format, Size: 2 * mib}
		_, err = m.Resize(t.Context(), spec)
		require.ErrorContains(t, err, "set ResizeSpec.Shrink, and From")
		spec.Shrink = true
		_, err = m.Resize(t.Context(), spec)
		require.ErrorContains(t, err, "set ResizeSpec.From to its size now, 6291456, too")
		spec.From = 4 * mib
		_, err = m.Resize(t.Context(), spec)
		require.ErrorContains(t, err, "has 6291456 bytes, and not the 4194304")
		requireRow(t, m, grown)
		spec.From = 6 * mib
		shrunk, err := m.Resize(t.Context(), spec)
		require.NoError(t, err)
		require.EqualValues(t, 2*mib, shrunk.Size)
		requireRow(t, m, shrunk)
		requireContent(t, data[:2*mib], img.Path, format)

		same, err := m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: format, Size: 2 * mib})
		require.NoError(t, err)
		require.EqualValues(t, 2*mib, same.Size)

		full, err := m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: format, Size: 8 * mib, Preallocation: storage.PreallocationFull})
		require.NoError(t, err)
		require.GreaterOrEqual(t, full.Allocated, int64(6*mib))
		if format == storage.FormatQcow2 {
			requireSound(t, img.Path)
		}
	}
}

// TestResizeOverlay: what is added over a base reads as zeros, even if the base has data there.
func TestResizeOverlay(t *testing.T) {
	m, root := manage(t)
	data := filled(21, 4)
	base := imageOf(t, "raw", data)
	img := overlayOn(t, m, filepath.Join(root, "over"), base, "raw")
	_, err := m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: "qcow2", Size: mib, From: 4 * mib, Shrink: true})
	require.NoError(t, err)
	img, err = m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: "qcow2", Size: 4 * mib})
	require.NoError(t, err)
	require.Equal(t, base, img.Base)
	requireContent(t, append(data[:mib:mib], make([]byte, 3*mib)...), img.Path, "qcow2")
}

func TestResizeRefuses(t *testing.T) {
	m, root := manage(t)
	data := filled(22, 2)
	img := imported(t, m, filepath.Join(root, "disk"), "qcow2", data)
	for says, change := range map[string]func(*storage.ResizeSpec){
		"multiple of 512":     func(s *storage.ResizeSpec) { s.Size = 1000 },
		"first bytes say":     func(s *storage.ResizeSpec) { s.Format = "raw" },
		`format ""`:           func(s *storage.ResizeSpec) { s.Format = "" },
		"does not exist":      func(s *storage.ResizeSpec) { s.Path += "-missing" },
		`preallocation "all"`: func(s *storage.ResizeSpec) { s.Preallocation = "all" },
		"nothing for raw":     func(s *storage.ResizeSpec) { s.Format, s.Preallocation = "raw", storage.PreallocationMetadata },
	} {
		spec := storage.ResizeSpec{Path: img.Path, Format: "qcow2", Size: 3 * mib}
		change(&spec)
		_, err := m.Resize(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrStorage, says)
		require.ErrorContains(t, err, says)
	}
	requireRow(t, m, img)

	over := overlayOn(t, m, filepath.Join(root, "over"), img.Path, "qcow2")
	_, err := m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: "qcow2", Size: 3 * mib})
	requireBaseOf(t, err, img.Path, over.Path)
	require.NoError(t, m.Delete(t.Context(), over.Path))
	requireContent(t, data, img.Path, "qcow2")
	pid := hold(t, "-f", "qcow2", img.Path)
	_, err = m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: "qcow2", Size: 3 * mib})
	requireHeld(t, err, img.Path, pid)
}

// requireBaseOf fails unless an error names the images that stand on one.
func requireBaseOf(t *testing.T, err error, path string, overlays ...string) {
	t.Helper()
	require.ErrorIs(t, err, errors.ErrImageInUse)
	var bad *storage.ImageError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, path, bad.Path)
	require.Equal(t, overlays, bad.Overlays)
	require.ErrorContains(t, err, "is the base of "+`"`+overlays[0]+`"`)
}
