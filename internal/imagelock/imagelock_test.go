//go:build linux

package imagelock

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestUses: what each lock that a QEMU takes means for others.
func TestUses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, c := range []struct {
		start int64 // of the lock; 0: none
		want  Use
	}{
		{0, None}, {100, None}, {101, Writing}, {102, None}, {103, Writing}, {200, Writing}, {201, Reading}, {202, None}, {203, Reading},
	} {
		f, err := os.Open(path)
		require.NoError(t, err)
		if c.start > 0 {
			lock := unix.Flock_t{Type: unix.F_RDLCK, Start: c.start, Len: 1}
			require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock))
		}
		require.Equal(t, c.want, Of(path), c.start)
		require.Equal(t, c.start > 0, Open(path), c.start)
		holders := Holders(path)
		if require.Len(t, holders, min(int(c.start), 1), c.start); c.start > 0 {
			require.Equal(t, os.Getpid(), holders[0].PID)
			require.NotEmpty(t, holders[0].Program)
		}
		require.NoError(t, f.Close())
	}
	missing := filepath.Join(t.TempDir(), "missing")
	require.Equal(t, None, Of(missing))
	require.False(t, Open(missing))
	require.Empty(t, Holders(missing))
}
