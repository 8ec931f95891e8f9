package snapshot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// TestDeleteDamagedTemplate: what nobody can fork any more can be deleted.
func TestDeleteDamagedTemplate(t *testing.T) {
	h := newHouse(t)
	for name, manifest := range map[string]string{
		"empty": "", "no JSON": "{", "another version": `{"version": 999, "name": "odd", "id": "44ae6a8a-4b4c-4b4e-9c0c-1b8f5a5a2a11", "lifetime": "persistent"}`,
		"no ID": `{"version": 999, "id": "../../images"}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(h.dir, "templates", "odd")
			require.NoError(t, os.MkdirAll(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600))
			_, err := h.snaps.Fork(t.Context(), "odd")
			require.ErrorIs(t, err, errors.ErrTemplateMismatch)
			require.NoError(t, h.snaps.DeleteTemplate(t.Context(), "odd"))
			_, err = h.snaps.Template(t.Context(), "odd")
			require.ErrorIs(t, err, errors.ErrTemplateNotFound)
			left, err := filepath.Glob(filepath.Join(h.dir, "templates", "*"))
			require.NoError(t, err)
			require.NotContains(t, left, dir)
		})
	}
	require.DirExists(t, filepath.Join(h.dir, "templates"))
}
