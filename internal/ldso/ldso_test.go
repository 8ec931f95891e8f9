//go:build linux

package ldso

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExpandOrigin(t *testing.T) {
	require.Equal(t, "/opt/x/../lib", expandOrigin("$ORIGIN/../lib", "/opt/x"))
	require.Equal(t, "/opt/x/lib", expandOrigin("${ORIGIN}/lib", "/opt/x"))
}

func TestReadLdConf(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "conf.d/a.conf"), []byte("/a # comment\n\n"))
	put(t, filepath.Join(dir, "conf.d/b.conf"), []byte("include ../ld.conf\n/b\n"))
	conf := put(t, filepath.Join(dir, "ld.conf"), []byte("# first\ninclude conf.d/a.conf\n/c\n"))
	require.Equal(t, []string{"/a", "/c"}, readLdConf(conf, 0))
	require.NotEmpty(t, readLdConf(put(t, filepath.Join(dir, "loop"), []byte("/x\ninclude loop\n")), 0), "a loop ends")
}

func put(t *testing.T, path string, data []byte) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}
