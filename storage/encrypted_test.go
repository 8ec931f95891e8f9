package storage_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// TestEncryptedOperations: what needs no key works with encrypted images, and what would need
// one says so before anything is done.
func TestEncryptedOperations(t *testing.T) {
	m, root := manage(t)
	img, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "disk"), Size: mib,
		Encryption: &storage.Encryption{Secret: storage.Secret{Value: []byte("secret")}, Unlock: 10 * time.Millisecond}})
	require.NoError(t, err)
	want, err := os.ReadFile(img.Path)
	require.NoError(t, err)

	for name, copied := range map[string]func(path string) (storage.Image, error){
		"clone": func(path string) (storage.Image, error) {
			return m.Clone(t.Context(), storage.CloneSpec{Source: img.Path, Format: "qcow2", Path: path})
		},
		"import": func(path string) (storage.Image, error) {
			return m.Import(t.Context(), storage.ImportSpec{Source: img.Path, Format: "qcow2", Path: path})
		},
	} {
		out, err := copied(filepath.Join(root, name))
		require.NoError(t, err, name)
		require.True(t, out.Encrypted)
		got, err := os.ReadFile(out.Path)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	chain, err := m.Info(t.Context(), img.Path, "qcow2")
	require.NoError(t, err)
	require.True(t, chain[0].Encrypted)

	for name, op := range map[string]func() error{
		"convert": func() error {
			_, err := m.Convert(t.Context(), storage.ConvertSpec{Source: img.Path, Format: "qcow2", Path: filepath.Join(root, "new")})
			return err
		},
		"resize": func() error {
			_, err := m.Resize(t.Context(), storage.ResizeSpec{Path: img.Path, Format: "qcow2", Size: 2 * mib})
			return err
		},
		"compress": func() error {
			_, err := m.Compress(t.Context(), storage.CompressSpec{Path: img.Path})
			return err
		},
		"rebase": func() error { _, err := m.Rebase(t.Context(), storage.RebaseSpec{Path: img.Path}); return err },
		"commit": func() error { _, err := m.Commit(t.Context(), storage.CommitSpec{Path: img.Path}); return err },
		"check":  func() error { _, err := m.Check(t.Context(), img.Path, "qcow2"); return err },
		"repair": func() error { _, err := m.RepairAll(t.Context(), img.Path); return err },
		"map":    func() error { _, err := m.Map(t.Context(), img.Path, "qcow2"); return err },
	} {
		err := op()
		require.ErrorIs(t, err, errors.ErrStorage, name)
		require.ErrorContains(t, err, "is encrypted", name)
	}
	got, err := os.ReadFile(img.Path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	found, err := m.Verify(t.Context(), storage.VerifySpec{Deep: true})
	require.NoError(t, err)
	require.Len(t, found, 3)
	require.Equal(t, storage.FoundUnchecked, found[0].Kind)
}
