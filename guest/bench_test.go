package guest_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
)

// BenchmarkAgentFiles measures whole files through Debian's qemu-ga on this host: the
// protocol's own cost, without a virtio-serial port below it.
func BenchmarkAgentFiles(b *testing.B) {
	v := withAgent(b, newFakeVM(b))
	m := v.manager(b)
	file := filepath.Join(b.TempDir(), "file")
	data := make([]byte, 2<<20)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			require.NoError(b, m.WriteFile(b.Context(), "box", file, data, 0o600))
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			_, err := m.ReadFile(b.Context(), "box", file)
			require.NoError(b, err)
		}
	})
}

// BenchmarkExec measures a program that does nothing, by both ways on this host, with
// the fork and exec of it.
func BenchmarkExec(b *testing.B) {
	for name, with := range map[string]func(testing.TB, *fakeVM) *fakeVM{"init": withInit, "agent": withAgent} {
		b.Run(name, func(b *testing.B) {
			m := with(b, newFakeVM(b)).manager(b)
			for b.Loop() {
				_, err := m.Exec(b.Context(), "box", guest.Command{Args: []string{"true"}})
				require.NoError(b, err)
			}
		})
	}
}
