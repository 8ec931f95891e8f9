package storage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

func TestInfo(t *testing.T) {
	m, root := manage(t)
	base, over, _ := layered(t, m, root, 60)
	img, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, "top"), Base: over.Path, BaseFormat: "qcow2", Size: 8 * mib,
		Options: storage.Qcow2Options{ClusterSize: 128 << 10, Compression: storage.CompressionZstd}})
	require.NoError(t, err)
	qemuImg(t, "snapshot", "-c", "a b", img.Path)
	pid := hold(t, "-f", "qcow2", img.Path)
	require.Positive(t, pid, "it may be in use")
	chain, err := m.Info(t.Context(), img.Path, "qcow2")
	require.NoError(t, err)
	require.Len(t, chain, 3)
	for i, want := range []storage.Image{img, over, base} {
		got := chain[i].Image
		got.Allocated, want.Allocated = 0, 0
		require.Equal(t, want, got)
	}
	require.EqualValues(t, 128<<10, chain[0].ClusterSize)
	require.Equal(t, []any{"1.1", "zstd", 16}, []any{chain[0].Compat, chain[0].Compression, chain[0].RefcountBits})
	require.Len(t, chain[0].Snapshots, 1)
	require.Equal(t, "a b", chain[0].Snapshots[0].Name)
	require.Equal(t, []any{"zlib", int64(64 << 10)}, []any{chain[1].Compression, chain[1].ClusterSize})
	require.Equal(t, storage.ImageInfo{Image: chain[2].Image}, chain[2])
}

func TestInfoRefuses(t *testing.T) {
	m, root := manage(t)
	base, over, _ := layered(t, m, root, 61)
	_, err := m.Info(t.Context(), over.Path, "raw")
	var format *storage.FormatError
	require.ErrorAs(t, err, &format)
	_, err = m.Map(t.Context(), over.Path, "raw")
	require.ErrorAs(t, err, &format)
	require.NoError(t, os.Remove(base.Path))
	_, err = m.Info(t.Context(), over.Path, "qcow2")
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	_, err = m.Map(t.Context(), over.Path, "qcow2")
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	_, err = m.Measure(t.Context(), storage.MeasureSpec{Path: over.Path, Format: "qcow2"})
	require.ErrorIs(t, err, errors.ErrImageNotFound)
}

// TestMap: the extents cover the image, and say whose each is.
func TestMap(t *testing.T) {
	m, root := manage(t)
	_, over, data := layered(t, m, root, 62)
	extents, err := m.Map(t.Context(), over.Path, "qcow2")
	require.NoError(t, err)
	var at int64
	depths := map[int]bool{}
	for _, e := range extents {
		require.Equal(t, at, e.Start)
		require.Positive(t, e.Length)
		if e.Zero {
			require.Equal(t, make([]byte, e.Length), data[e.Start:e.Start+e.Length])
		} else {
			require.True(t, e.Data)
			depths[e.Depth] = true
		}
		if e.Depth == 0 && e.Data {
			require.NotNil(t, e.Offset)
			file, err := os.ReadFile(over.Path)
			require.NoError(t, err)
			require.Equal(t, data[e.Start:e.Start+e.Length], file[*e.Offset:*e.Offset+e.Length])
		}
		at += e.Length
	}
	require.EqualValues(t, len(data), at)
	require.Equal(t, map[int]bool{0: true, 1: true}, depths)
	pid := hold(t, "-f", "qcow2", over.Path)
	_, err = m.Map(t.Context(), over.Path, "qcow2")
	requireHeld(t, err, over.Path, pid)
}

func TestMeasure(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(63, 8))
	for _, to := range []string{"", storage.FormatRaw, storage.FormatQcow2} {
		size, err := m.Measure(t.Context(), storage.MeasureSpec{Path: source, Format: "raw", To: to})
		require.NoError(t, err)
		require.GreaterOrEqual(t, size.Full, int64(8*mib))
		if to == storage.FormatRaw {
			require.EqualValues(t, 8*mib, size.Required)
			continue
		}
		img, err := m.Convert(t.Context(), storage.ConvertSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new"+to)})
		require.NoError(t, err)
		require.InDelta(t, size.Required, img.Allocated, mib/4)
	}
	empty, err := m.Measure(t.Context(), storage.MeasureSpec{Size: 1 << 30, Qcow2: storage.Qcow2Options{ClusterSize: 2 << 20}})
	require.NoError(t, err)
	require.Less(t, empty.Required, int64(16*mib))
	require.Greater(t, empty.Full, int64(1<<30))
	for says, bad := range map[string]storage.MeasureSpec{
		"multiple of 512":        {},
		"there are a Path":       {Path: source, Format: "raw", Size: 512},
		`format "vmdk"`:          {Size: 512, To: "vmdk"},
		"a raw image has no":     {Size: 512, To: "raw", Qcow2: storage.Qcow2Options{ClusterSize: 512}},
		"first bytes say raw":    {Path: source, Format: "qcow2"},
		"preallocation \"some\"": {Size: 512, Qcow2: storage.Qcow2Options{Preallocation: "some"}},
	} {
		_, err := m.Measure(t.Context(), bad)
		require.ErrorIs(t, err, errors.ErrStorage, says)
		require.ErrorContains(t, err, says)
	}
}

func BenchmarkInfo(b *testing.B) {
	m, root := manage(b)
	base := imported(b, m, filepath.Join(root, "base"), "raw", filled(64, 1))
	over := overlayOn(b, m, filepath.Join(root, "over"), base.Path, "raw")
	for b.Loop() {
		chain, err := m.Info(b.Context(), over.Path, "qcow2")
		require.NoError(b, err)
		require.Len(b, chain, 2)
	}
}
