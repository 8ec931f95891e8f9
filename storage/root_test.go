package storage_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

func TestRoot(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	m, err := storage.NewManager(storage.Options{Root: "images"})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "images"), m.Root())
	require.NoDirExists(t, m.Root())
}
