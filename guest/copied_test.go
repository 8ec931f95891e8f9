package guest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
)

// TestOnCopied tells of everything that goes in and out.
func TestOnCopied(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		dir, target := t.TempDir(), t.TempDir()
		const size = 300_000
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), make([]byte, size), 0o600))
		in, out := 0, 0
		require.NoError(t, m.CopyTo(guest.OnCopied(soon(t), func(n int) { in += n }), "box", dir, target))
		require.NoError(t, m.CopyFrom(guest.OnCopied(soon(t), func(n int) { out += n }), "box", filepath.Join(target, filepath.Base(dir)), t.TempDir()))
		require.InDelta(t, size, in, 16<<10)
		require.InDelta(t, size, out, 16<<10)
	})
}
