package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// TestRuntimeFolder: a folder in which others could put sockets is refused.
func TestRuntimeFolder(t *testing.T) {
	make := func(t *testing.T, dir string) error {
		b, err := New(Options{RuntimeDir: dir, LogDir: t.TempDir(), CacheDir: t.TempDir()})
		if err == nil {
			require.NoError(t, b.Close())
		}
		return err
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		text  string
	}{
		"writable by the group": {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o770)) }, "chmod"},
		"writable by all":       {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o777)) }, "chmod"},
		"a link": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.Symlink(t.TempDir(), dir))
		}, "symbolic link"},
		"a file": {func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		}, "not a directory"},
		"somebody else's": {func(t *testing.T, dir string) {
			testhost.Needs(t, "the right to change owners", os.Chown(dir, 65534, 65534))
		}, "belongs to user 65534"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, make(t, dir))
			c.spoil(t, dir)
			err := make(t, dir)
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			require.ErrorContains(t, err, c.text)
			require.ErrorContains(t, err, dir)
		})
	}
	t.Run("made", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "a", "b")
		require.NoError(t, make(t, dir))
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|0o700, info.Mode())
	})
}

// TestVMFolderIsChecked: also the folder of a single VM, which somebody might have
// prepared.
func TestVMFolderIsChecked(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{})
	dir := h.b.vmDir(spec.ID)
	require.NoError(t, os.Symlink(t.TempDir(), dir))
	_, err := h.b.Launch(t.Context(), spec)
	require.ErrorContains(t, err, "symbolic link")
	require.NoError(t, os.Remove(dir))
}

func TestDefaultRuntimeFolder(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	require.Equal(t, "/run/user/1/maqet", defaultRuntimeDir())
	for _, unusable := range []string{"", "relative"} {
		t.Setenv("XDG_RUNTIME_DIR", unusable)
		require.Equal(t, "/tmp/maqet-"+strconv.Itoa(os.Getuid()), defaultRuntimeDir())
	}
}

// TestLongSocketPath: the limit is exact, and the error says what to do.
func TestLongSocketPath(t *testing.T) {
	longest := 0
	for _, ch := range allChannels {
		longest = max(longest, len("/"+ch+".sock"))
	}
	fits := "/" + strings.Repeat("x", maxSocketPath-longest-1)
	require.NoError(t, checkSocketPaths(fits))
	err := checkSocketPaths(fits + "x")
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	for _, text := range []string{fits + "x/", "108", "107", "WithRuntimeDir"} {
		require.ErrorContains(t, err, text)
	}
}

// TestListenLeavesOthersAlone: a socket that is in the way stays, and what was made
// before it is removed.
func TestListenLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	first, err := listen(dir, []string{"b"})
	require.NoError(t, err)
	fds := openFiles(t)
	_, err = listen(dir, []string{"a", "b", "c"})
	require.ErrorContains(t, err, "b.sock")
	require.Equal(t, []string{filepath.Join(dir, "b.sock")}, filesBelow(t, dir))
	require.Equal(t, fds, openFiles(t))
	require.NoError(t, closeListeners(first))
}
