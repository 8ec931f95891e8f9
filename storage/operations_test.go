package storage_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

// TestOperationsOddNames: no name is taken for an option, a protocol or a list.
func TestOperationsOddNames(t *testing.T) {
	m, root := manage(t)
	data := filled(90, 1)
	source := imageOf(t, "qcow2", data)
	for i, name := range oddNames {
		dir := filepath.Join(root, itoa(i))
		base, err := m.Import(t.Context(), storage.ImportSpec{Source: source, Format: "qcow2", Path: filepath.Join(dir, name)})
		require.NoError(t, err, "%q", name)
		over := overlayOn(t, m, filepath.Join(dir, "over-"+name), base.Path, "qcow2")
		raw, err := m.Convert(t.Context(), storage.ConvertSpec{Source: over.Path, Format: "qcow2", Path: filepath.Join(dir, "raw-"+name), To: "raw"})
		require.NoError(t, err, "%q", name)
		copied, err := m.Clone(t.Context(), storage.CloneSpec{Source: over.Path, Format: "qcow2", Path: filepath.Join(dir, "copy-"+name)})
		require.NoError(t, err, "%q", name)
		_, err = m.Compress(t.Context(), storage.CompressSpec{Path: copied.Path})
		require.NoError(t, err, "%q", name)
		_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: copied.Path, Base: raw.Path, BaseFormat: "raw"})
		require.NoError(t, err, "%q", name)
		chain, err := m.Info(t.Context(), copied.Path, "qcow2")
		require.NoError(t, err, "%q", name)
		require.Equal(t, raw.Path, chain[1].Path)
		_, err = m.Commit(t.Context(), storage.CommitSpec{Path: over.Path})
		require.NoError(t, err, "%q", name)
		_, err = m.Resize(t.Context(), storage.ResizeSpec{Path: over.Path, Format: "qcow2", Size: 2 * mib})
		require.NoError(t, err, "%q", name)
		report, err := m.RepairAll(t.Context(), over.Path)
		require.NoError(t, err, "%q", name)
		require.True(t, report.Clean())
		extents, err := m.Map(t.Context(), copied.Path, "qcow2")
		require.NoError(t, err, "%q", name)
		require.NotEmpty(t, extents)
		_, err = m.Measure(t.Context(), storage.MeasureSpec{Path: copied.Path, Format: "qcow2"})
		require.NoError(t, err, "%q", name)
		requireContent(t, data, copied.Path, "qcow2")
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 4, "%q", name)
	}
	found, err := m.Verify(t.Context(), storage.VerifySpec{Deep: true})
	require.NoError(t, err)
	require.Empty(t, found)
}

// TestAnyOrder: whatever is done to images in whatever order, a guest sees what it wrote.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(3) {
		m, root := manage(t)
		r := rand.New(rand.NewPCG(seed, 91))
		data := filled(92+seed, 2)
		top := imported(t, m, filepath.Join(root, "0"), "qcow2", data)
		for i := 1; i <= 16; i++ {
			name := filepath.Join(root, itoa(i))
			var err error
			switch what := r.IntN(8); what {
			case 0:
				at, part := 512*r.IntN(len(data)/512-256), filled(uint64(i), 1)[:512*(1+r.IntN(256))]
				copy(data[at:], part)
				patch(t, top.Path, "qcow2", at, part)
			case 1:
				size := mib + 512*r.IntN(4*mib/512)
				_, err = m.Resize(t.Context(), storage.ResizeSpec{Path: top.Path, Format: "qcow2", Size: int64(size), Shrink: true, From: int64(len(data))})
				data = append(data[:min(size, len(data)):min(size, len(data))], make([]byte, max(0, size-len(data)))...)
			case 2:
				top = overlayOn(t, m, name, top.Path, "qcow2")
			case 3:
				_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: top.Path})
			case 4:
				_, err = m.Compress(t.Context(), storage.CompressSpec{Path: top.Path, Compression: storage.CompressionZstd})
			case 5:
				top, err = m.Clone(t.Context(), storage.CloneSpec{Source: top.Path, Format: "qcow2", Path: name})
			case 6:
				top, err = m.Convert(t.Context(), storage.ConvertSpec{Source: top.Path, Format: "qcow2", Path: name, Compress: r.IntN(2) == 0})
			case 7:
				top = overlayOn(t, m, name, top.Path, "qcow2")
				patch(t, top.Path, "qcow2", 0, bytes.Repeat([]byte{byte(i)}, 512))
				copy(data, bytes.Repeat([]byte{byte(i)}, 512))
				if top, err = m.Commit(t.Context(), storage.CommitSpec{Path: top.Path, Empty: r.IntN(2) == 0}); err == nil {
					err = m.Delete(t.Context(), name)
				}
			}
			require.NoError(t, err, "seed %d, step %d", seed, i)
			requireContent(t, data, top.Path, "qcow2")
			requireSound(t, top.Path)
		}
		found, err := m.Verify(t.Context(), storage.VerifySpec{})
		require.NoError(t, err)
		require.Empty(t, found)
	}
}
