package storage_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// TestISO reads the image with the library that wrote it; package vm's tests have a
// guest's kernel read one.
func TestISO(t *testing.T) {
	m, root := manage(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	files := map[string][]byte{
		"user-data": []byte("#cloud-config\n"), "meta-data": {}, "network-config": []byte(strings.Repeat("x", 5000)), "a.txt": []byte("a"),
	}
	path := filepath.Join(root, "vm", "seed.iso")
	img, err := m.ISO(t.Context(), storage.ISOSpec{Path: path, Label: "cidata", Files: files})
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	require.Equal(t, storage.Image{Path: path, Format: storage.FormatRaw, Size: info.Size(), Allocated: img.Allocated}, img)
	requireEmpty(t, temp)

	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	image, err := iso9660.OpenImage(f)
	require.NoError(t, err)
	label, err := image.Label()
	require.NoError(t, err)
	require.Equal(t, "cidata", label)
	top, err := image.RootDir()
	require.NoError(t, err)
	children, err := top.GetChildren()
	require.NoError(t, err)
	require.Len(t, children, len(files))
	for _, c := range children {
		require.EqualValues(t, len(files[c.Name()]), c.Size(), c.Name())
	}

	_, err = m.ISO(t.Context(), storage.ISOSpec{Path: path, Label: "cidata", Files: files})
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.NoError(t, m.Delete(t.Context(), path))
	requireEmpty(t, root)
}

func TestISORefuses(t *testing.T) {
	m, root := manage(t)
	one := map[string][]byte{"a": nil}
	for says, spec := range map[string]storage.ISOSpec{
		`label ""`:                    {Files: one},
		`label "a b"`:                 {Label: "a b", Files: one},
		"no files":                    {Label: "x"},
		`"User-Data"`:                 {Label: "x", Files: map[string][]byte{"User-Data": nil}},
		`"../a"`:                      {Label: "x", Files: map[string][]byte{"../a": nil}},
		`"a/b"`:                       {Label: "x", Files: map[string][]byte{"a/b": nil}},
		`"` + strings.Repeat("a", 21): {Label: "x", Files: map[string][]byte{strings.Repeat("a", 21): nil}},
		"not below " + root:           {Label: "x", Files: one, Path: "/elsewhere"},
		"context canceled":            {Label: "x", Files: one},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if says == "context canceled" {
			cancel()
		}
		if spec.Path == "" {
			spec.Path = filepath.Join(root, "x.iso")
		}
		_, err := m.ISO(ctx, spec)
		cancel()
		require.ErrorIs(t, err, errors.ErrImageCreation, says)
		require.ErrorContains(t, err, says)
	}
	require.NoDirExists(t, root)
}
