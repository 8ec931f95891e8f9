package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDamagedTemplate: a template that can't be used is made again, and one that can is kept.
func TestDamagedTemplate(t *testing.T) {
	needQEMU(t)
	t.Parallel()
	dir := t.TempDir()
	pass := func() string {
		t.Helper()
		end := run(t, t.TempDir(), environment(dir), os.Args[0], "-v", binary(t, "native"), "-test.run=^TestTwice$")
		require.Zero(t, end.code, "%+v", end)
		require.Contains(t, end.stdout, "PASS")
		return end.stderr
	}
	require.Contains(t, pass(), "is made")
	require.NotContains(t, pass(), "is made", "the second run forks")
	for _, file := range []string{"manifest.json", "state"} {
		paths, err := filepath.Glob(filepath.Join(dir, "templates", "exec-*", file))
		require.NoError(t, err)
		require.Len(t, paths, 1)
		require.NoError(t, os.WriteFile(paths[0], []byte("damaged"), 0o600))
		require.Contains(t, pass(), "is made", "%s was damaged", file)
	}
}
