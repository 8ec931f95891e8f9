package storage_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

func TestCompress(t *testing.T) {
	m, root := manage(t)
	data := bytes.Repeat([]byte("easily compressed "), 4*mib/18+1)[:4*mib]
	for _, how := range []string{"", storage.CompressionZlib, storage.CompressionZstd} {
		source := imageOf(t, "qcow2", data, "-o", "cluster_size=32k,lazy_refcounts=on")
		qemuImg(t, "bitmap", "--add", "-f", "qcow2", source, "changes")
		img, err := m.Import(t.Context(), storage.ImportSpec{Source: source, Format: "qcow2", Path: filepath.Join(root, "disk"+how),
			For: storage.For{Owner: "vm", Disk: "disk0"}})
		require.NoError(t, err)
		seen := progress{t: t}
		small, err := m.Compress(t.Context(), storage.CompressSpec{Path: img.Path, Compression: how, Progress: seen.report})
		require.NoError(t, err)
		require.Less(t, small.Allocated, img.Allocated/4)
		require.Equal(t, "vm", requireRow(t, m, small).Owner)
		requireContent(t, data, img.Path, "qcow2")
		requireSound(t, img.Path)
		seen.requireDone(t)

		chain, err := m.Info(t.Context(), img.Path, "qcow2")
		require.NoError(t, err)
		require.EqualValues(t, 32<<10, chain[0].ClusterSize)
		require.True(t, chain[0].LazyRefcounts)
		require.Equal(t, []storage.BitmapInfo{{Name: "changes", Granularity: 32 << 10, Recording: true}}, chain[0].Bitmaps)
		if how != "" {
			require.Equal(t, how, chain[0].Compression)
		}
	}
	files, err := m.Files(t.Context(), storage.FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, 3)
}

// TestCompressOverlay: it stays one layer, also where it hides its base's data by zeros.
func TestCompressOverlay(t *testing.T) {
	m, root := manage(t)
	base, over, data := layered(t, m, root, 50)
	clear(data[2*mib : 2*mib+2*cluster])
	qemuIO(t, "-f", "qcow2", "-c", "write -z 2M 128k", over.Path)
	img, err := m.Compress(t.Context(), storage.CompressSpec{Path: over.Path})
	require.NoError(t, err)
	require.Equal(t, base.Path, img.Base)
	requireRow(t, m, img)
	requireContent(t, data, over.Path, "qcow2")
	require.Less(t, img.Allocated, int64(mib))
}

func TestCompressRefuses(t *testing.T) {
	m, root := manage(t)
	data := filled(51, 2)
	img := imported(t, m, filepath.Join(root, "disk"), "qcow2", data)
	_, err := m.Compress(t.Context(), storage.CompressSpec{Path: imageOf(t, "qcow2", data)})
	require.ErrorContains(t, err, "is not registered")
	_, err = m.Compress(t.Context(), storage.CompressSpec{Path: img.Path, Compression: "xz"})
	require.ErrorContains(t, err, `compression "xz"`)
	raw := imported(t, m, filepath.Join(root, "raw"), "raw", data)
	_, err = m.Compress(t.Context(), storage.CompressSpec{Path: raw.Path})
	require.ErrorIs(t, err, errors.ErrStorage)
	over := overlayOn(t, m, filepath.Join(root, "over"), img.Path, "qcow2")
	_, err = m.Compress(t.Context(), storage.CompressSpec{Path: img.Path})
	requireBaseOf(t, err, img.Path, over.Path)
	qemuImg(t, "snapshot", "-c", "kept", over.Path)
	_, err = m.Compress(t.Context(), storage.CompressSpec{Path: over.Path})
	require.ErrorContains(t, err, "has internal snapshots")
	requireContent(t, data, over.Path, "qcow2")
}

func TestCompressCancelled(t *testing.T) {
	m, root := manage(t)
	data := filled(52, 32)
	img := imported(t, m, filepath.Join(root, "disk"), "qcow2", data)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := m.Compress(ctx, storage.CompressSpec{Path: img.Path, Progress: func(done, total int64) {
		if done > total/5 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, img.Path+".partial")
	requireRow(t, m, img)
	requireContent(t, data, img.Path, "qcow2")
}

// TestCompressKeepsWritersOff: what a guest wrote meanwhile would be lost.
func TestCompressKeepsWritersOff(t *testing.T) {
	m, root := manage(t)
	img := imported(t, m, filepath.Join(root, "disk"), "qcow2", filled(53, 4))
	tried := 0
	_, err := m.Compress(t.Context(), storage.CompressSpec{Path: img.Path, Progress: func(done, total int64) {
		if done == 0 || done == total {
			tried++
			requireNotOpened(t, img.Path)
			_, err := m.Resize(context.Background(), storage.ResizeSpec{Path: img.Path, Format: "qcow2", Size: 8 * mib})
			require.ErrorIs(t, err, errors.ErrImageInUse)
			_, err = m.Overlay(context.Background(), storage.OverlaySpec{Path: filepath.Join(root, "over"), Base: img.Path, BaseFormat: "qcow2"})
			require.ErrorIs(t, err, errors.ErrImageInUse)
			require.ErrorContains(t, err, "is being worked on")
		}
	}})
	require.NoError(t, err)
	require.Equal(t, 2, tried)
}
