package benchmarks

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/vm"
)

// BenchmarkShares has the guest read a file of 100 MB by each way that there is: from a
// share of each type, its caches emptied before, and copied in by the guest's channel. One
// guest does all, on a kernel that has 9p.
func BenchmarkShares(b *testing.B) {
	cache, err := kernel.DefaultCacheDir()
	require.NoError(b, err)
	kernels, err := filepath.Glob(filepath.Join(cache, "kernels-full", "x86_64", "*", "boot", "vmlinuz-*"))
	require.NoError(b, err)
	if len(kernels) == 0 {
		const lacking = "a kernel with 9p is needed (scripts/setup.sh --test installs it)"
		if os.Getenv("MAQET_REQUIRE") == "1" {
			b.Fatal(lacking)
		}
		b.Skip(lacking)
	}
	const size = 100_000_000
	dir := b.TempDir()
	data := make([]byte, size)
	_, _ = rand.Read(data)
	require.NoError(b, os.WriteFile(filepath.Join(dir, "file"), data, 0o644))
	m := open(b)
	g, err := m.Run(b.Context(), vm.Config{Boot: vm.Boot{Kernel: kernels[0]}, Memory: vm.GiB, Shares: []vm.Share{
		{Name: "virtiofs", Path: dir, Type: vm.ShareVirtiofs}, {Name: "9p", Path: dir, Type: vm.Share9p}}})
	require.NoError(b, err)
	for _, share := range []string{"virtiofs", "9p"} {
		b.Run(share, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				_, err := g.Exec(b.Context(), "sh", "-c", "echo 3 > /proc/sys/vm/drop_caches; cat /mnt/"+share+"/file > /dev/null")
				require.NoError(b, err)
			}
		})
	}
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			require.NoError(b, m.Guest.CopyTo(b.Context(), g.ID(), filepath.Join(dir, "file"), "/tmp/file"))
		}
	})
}
