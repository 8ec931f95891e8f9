//go:build linux

package ldso

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

// TestNeed: a program's libraries are found where its own linker finds them, first in the
// folders of LD_LIBRARY_PATH.
func TestNeed(t *testing.T) {
	program, err := exec.LookPath("sh")
	require.NoError(t, err)
	find := func(paths ...string) (found []string) {
		l := Linker{Paths: paths, Add: func(guest, host string, _ uint32) (bool, error) {
			require.Equal(t, guest, host)
			if slices.Contains(found, host) {
				return false, nil
			}
			found = append(found, host)
			return true, nil
		}}
		require.NoError(t, l.Need(program, program))
		require.NoError(t, l.Need(program, program), "a second look finds nothing more")
		return found
	}
	libs := find()
	i := slices.IndexFunc(libs, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "libc.") })
	require.GreaterOrEqual(t, i, 0, "%v", libs)
	libc, err := os.ReadFile(libs[i])
	require.NoError(t, err)
	other := put(t, filepath.Join(t.TempDir(), filepath.Base(libs[i])), libc)
	require.Contains(t, find("/nowhere", filepath.Dir(other)), other)
	require.NotContains(t, find("/nowhere", filepath.Dir(other)), libs[i])

	static := Linker{Add: func(string, string, uint32) (bool, error) { t.Fatal("nothing is needed"); return false, nil }}
	require.NoError(t, static.Need("/text", put(t, filepath.Join(t.TempDir(), "text"), []byte("no program"))))
}
