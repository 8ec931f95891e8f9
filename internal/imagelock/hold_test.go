//go:build linux

package imagelock

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, make([]byte, 512), 0o600))
	return path
}

// TestHolds: which claims go together.
func TestHolds(t *testing.T) {
	claims := map[string]func(string) (*Hold, error){"exclude": Exclude, "share": Share, "read": Read}
	for _, c := range []struct {
		first, second string
		together      bool
	}{
		{"exclude", "exclude", false}, {"exclude", "share", false}, {"share", "exclude", false},
		{"share", "share", true}, {"read", "read", true}, {"read", "share", true}, {"read", "exclude", true}, {"exclude", "read", true},
	} {
		path := image(t)
		first, err := claims[c.first](path)
		require.NoError(t, err, c)
		second, err := claims[c.second](path)
		if c.together {
			require.NoError(t, err, c)
		} else {
			require.ErrorIs(t, err, ErrHeld, c)
		}
		second.Release()
		first.Release()
		first.Release() // once more does nothing
		require.False(t, Excluded(path))
		again, err := Share(path)
		require.NoError(t, err, c)
		require.False(t, Excluded(path))
		again.Release()
	}
}

// TestReadIsSeen: who reads is in a QEMU writer's way, and a writer in his.
func TestReadIsSeen(t *testing.T) {
	path := image(t)
	require.Equal(t, None, Of(path))
	hold, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, Reading, Of(path))
	require.True(t, Open(path))
	hold.Release()
	require.Equal(t, None, Of(path))

	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_RDLCK, Start: held + write, Len: 1}
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l))
	_, err = Read(path)
	require.ErrorIs(t, err, ErrHeld)
}

// TestExcludeIsNotQEMUs: maqet's own claim is invisible to QEMU, and names its holder.
func TestExcludeIsNotQEMUs(t *testing.T) {
	path := image(t)
	hold, err := Exclude(path)
	require.NoError(t, err)
	defer hold.Release()
	require.True(t, Excluded(path))
	require.Equal(t, None, Of(path))
	require.False(t, Open(path))
	holders := Holders(path)
	require.Len(t, holders, 1)
	require.Equal(t, os.Getpid(), holders[0].PID)
}

func TestCurrent(t *testing.T) {
	path := image(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.True(t, Current(f, path))
	require.NoError(t, ExcludeFile(f))
	_, err = Exclude(path)
	require.ErrorIs(t, err, ErrHeld)
	require.NoError(t, os.Remove(path))
	require.False(t, Current(f, path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.False(t, Current(f, path), "another file of that name")
	hold, err := Exclude(path)
	require.NoError(t, err)
	hold.Release()
	_, err = Exclude(path + "-missing")
	require.ErrorIs(t, err, os.ErrNotExist)
}
