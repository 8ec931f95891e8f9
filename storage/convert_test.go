package storage_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

func TestConvert(t *testing.T) {
	m, root := manage(t)
	data := filled(1, 8)
	sources := map[string]string{storage.FormatRaw: imageOf(t, "raw", data), storage.FormatQcow2: imageOf(t, "qcow2", data)}
	for name, spec := range map[string]storage.ConvertSpec{
		"qcow2":      {},
		"raw":        {To: storage.FormatRaw},
		"clusters":   {Qcow2: storage.Qcow2Options{ClusterSize: 4096, LazyRefcounts: true}},
		"compressed": {Compress: true},
		"zstd":       {Compress: true, Qcow2: storage.Qcow2Options{Compression: storage.CompressionZstd, ClusterSize: 1 << 20}},
		"metadata":   {Qcow2: storage.Qcow2Options{Preallocation: storage.PreallocationMetadata}},
		"full":       {Qcow2: storage.Qcow2Options{Preallocation: storage.PreallocationFull}},
	} {
		for format, source := range sources {
			seen := progress{t: t}
			spec.Source, spec.Format, spec.Progress = source, format, seen.report
			spec.Path = filepath.Join(root, name, format)
			img, err := m.Convert(t.Context(), spec)
			require.NoError(t, err, name)
			requireContent(t, data, img.Path, img.Format)
			row := requireRow(t, m, img)
			require.Equal(t, storage.KindDisk, row.Kind)
			seen.requireDone(t)
			require.EqualValues(t, len(data), seen.total)
			if name == "full" {
				require.GreaterOrEqual(t, img.Allocated, int64(len(data)))
			} else {
				require.Less(t, img.Allocated, int64(len(data)), "zeros take no space")
			}
			if img.Format == storage.FormatQcow2 {
				requireSound(t, img.Path)
			}
			requireContent(t, data, source, format)
		}
	}
	files, err := m.Files(t.Context(), storage.FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, 14, "nothing partial is left")
}

// TestConvertChain: the new image holds what the whole chain does, and stands on nothing.
func TestConvertChain(t *testing.T) {
	m, root := manage(t)
	data := filled(2, 4)
	over := overlayOn(t, m, filepath.Join(root, "over"), imageOf(t, "raw", data), storage.FormatRaw)
	copy(data[mib:], "written above")
	patch(t, over.Path, "qcow2", mib, data[mib:mib+512])
	img, err := m.Convert(t.Context(), storage.ConvertSpec{Source: over.Path, Format: "qcow2", Path: filepath.Join(root, "flat")})
	require.NoError(t, err)
	require.Empty(t, img.Base)
	requireContent(t, data, img.Path, img.Format)
}

func TestConvertRefuses(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(1, 1))
	for says, change := range map[string]func(*storage.ConvertSpec){
		"file already exists":  func(s *storage.ConvertSpec) { s.Path = writeFile(t, filepath.Join(root, "there"), "precious") },
		`format ""`:            func(s *storage.ConvertSpec) { s.Format = "" },
		`format "vmdk"`:        func(s *storage.ConvertSpec) { s.To = "vmdk" },
		"first bytes say raw":  func(s *storage.ConvertSpec) { s.Format = "qcow2" },
		"does not exist":       func(s *storage.ConvertSpec) { s.Source += "-missing" },
		"not below":            func(s *storage.ConvertSpec) { s.Path = filepath.Join(t.TempDir(), "a") },
		"a raw image has no":   func(s *storage.ConvertSpec) { s.To, s.Compress = "raw", true },
		"cluster size 5":       func(s *storage.ConvertSpec) { s.Qcow2.ClusterSize = 5 },
		"either compressed or": func(s *storage.ConvertSpec) { s.Compress, s.Qcow2.Preallocation = true, storage.PreallocationFull },
		"file name too long":   func(s *storage.ConvertSpec) { s.Path = filepath.Join(root, string(bytes.Repeat([]byte("x"), 300))) },
	} {
		spec := storage.ConvertSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new")}
		change(&spec)
		_, err := m.Convert(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrImageCreation, says)
		require.ErrorContains(t, err, says)
		requireNoRows(t, m)
	}
	content, err := os.ReadFile(filepath.Join(root, "there"))
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))
	require.NoError(t, os.Remove(filepath.Join(root, "there")))
	requireEmpty(t, root)
}

// TestPartialIsNotAnImage: a stranger's file of the partial name stays.
func TestPartialIsNotAnImage(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(1, 1))
	foreign := writeFile(t, filepath.Join(root, "new.partial"), "precious")
	_, err := m.Convert(t.Context(), storage.ConvertSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new")})
	require.ErrorIs(t, err, os.ErrExist)
	content, err := os.ReadFile(foreign)
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))
	requireNoRows(t, m)
}

func TestConvertInUse(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "qcow2", filled(1, 1))
	spec := storage.ConvertSpec{Source: source, Format: "qcow2", Path: filepath.Join(root, "new")}
	pid := hold(t, "-f", "qcow2", source)
	_, err := m.Convert(t.Context(), spec)
	requireHeld(t, err, source, pid)
	requireEmpty(t, filepath.Dir(root))
}

// TestConvertKeepsWritersOff: no layer is written while it is read, also no raw one, whose
// readers QEMU lets be disturbed.
func TestConvertKeepsWritersOff(t *testing.T) {
	m, root := manage(t)
	base := imageOf(t, "raw", filled(3, 8))
	over := overlayOn(t, m, filepath.Join(root, "over"), base, "raw")
	tried := false
	_, err := m.Convert(t.Context(), storage.ConvertSpec{Source: over.Path, Format: "qcow2", Path: filepath.Join(root, "new"),
		Progress: func(done, total int64) {
			if done > total/4 && !tried {
				tried = true
				requireNotOpened(t, base)
			}
		}})
	require.NoError(t, err)
	require.True(t, tried)
	patch(t, base, "raw", 0, make([]byte, 512))
}

// TestConvertCancelled: cancelled in the middle nothing is left, at once.
func TestConvertCancelled(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(3, 64))
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled time.Time
	_, err := m.Convert(ctx, storage.ConvertSpec{Source: source, Format: "raw", Path: filepath.Join(root, "new"), Compress: true,
		Progress: func(done, total int64) {
			require.FileExists(t, filepath.Join(root, "new.partial"))
			require.NoFileExists(t, filepath.Join(root, "new"))
			if done > total/10 && cancelled.IsZero() {
				cancelled = time.Now()
				cancel()
			}
		}})
	took := time.Since(cancelled)
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, cancelled.IsZero())
	require.Less(t, took, 5*time.Second)
	t.Log("returned after", took)
	requireEmpty(t, root)
	requireNoRows(t, m)
}
