package guesttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func write(t *testing.T, path string, size int64) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	return path
}

// TestInputs: the program, its libraries, testdata and what is asked for are copied; plain
// files are staged, but for those that are too large.
func TestInputs(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "pkg")
	testdata := filepath.Dir(write(t, filepath.Join(dir, "testdata", "a"), 100))
	write(t, filepath.Join(dir, "plain"), 10)
	large := write(t, filepath.Join(dir, "large"), 101)
	write(t, filepath.Join(dir, "sub", "not"), 1)
	require.NoError(t, os.Symlink("plain", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "broken")))
	var left []string
	p := Program{Path: program, Dir: dir, Plain: true, Files: []string{"../x", "/y/"}, Limit: 100,
		Left: func(path string, size int64) { left = append(left, path); require.EqualValues(t, 101, size) }}

	in, err := p.inputs(outputs{files: []string{"/out/file"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(in.staged)) })
	require.Equal(t, []string{program, testdata, filepath.Join(filepath.Dir(dir), "x"), "/y"}, in.paths)
	require.Equal(t, []string{dir, "/out"}, in.folders)
	require.Equal(t, []string{large}, left)
	entries, err := os.ReadDir(filepath.Join(in.staged, "pkg"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		require.True(t, e.Type().IsRegular())
	}
	require.Equal(t, []string{"link", "plain"}, names)

	write(t, filepath.Join(testdata, "b"), 1)
	_, err = p.inputs(outputs{})
	require.ErrorContains(t, err, filepath.Join(testdata, "a"), "the largest file of what is too large")
}

// TestArch knows a program's processor.
func TestArch(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	arch0, err := Arch(self)
	require.NoError(t, err)
	require.NotEmpty(t, arch0)

	script := write(t, filepath.Join(t.TempDir(), "script"), 2)
	arch, err := Arch(script)
	require.NoError(t, err)
	require.Empty(t, arch)

	_, err = Arch(script + "-not")
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorIs(t, err, os.ErrNotExist)

	program, err := os.ReadFile(self)
	require.NoError(t, err)
	program[18] = 2 // e_machine: SPARC (ELF specification, "ELF Header")
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, program, 0o700))
	_, err = Arch(other)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "EM_SPARC")

	for _, c := range []struct {
		program, guest string
		ok             bool
	}{{self, arch0, true}, {self, "", true}, {self, "other", false}, {script, "other", true}, {other, arch0, false}} {
		err := checkArch(c.program, vm.Instance{Name: "guest", Config: vm.Config{Arch: c.guest}})
		require.Equal(t, c.ok, err == nil, "%v: %v", c, err)
		if err != nil {
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
		}
	}
}
