package benchmarks

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// manyVMs is how many VMs the store has in the benchmarks.
const manyVMs = 1000

// populated returns a folder whose store has manyVMs.
func populated(b *testing.B) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "m")
	m, err := maqet.New(maqet.WithDir(dir))
	require.NoError(b, err)
	for i := range manyVMs {
		_, err := m.VM.Add(b.Context(), vm.Config{
			Name: fmt.Sprintf("vm%04d", i), Memory: vm.GiB, Lifetime: vm.Persistent,
			Labels:   map[string]string{"suite": "bench", "index": fmt.Sprint(i)},
			Disks:    []vm.Disk{{Base: "/images/debian.qcow2", Size: 4 * vm.GiB}},
			Networks: []vm.Network{{Forwards: []vm.Forward{{Port: 10000 + i, Guest: 22}}}},
		})
		require.NoError(b, err)
	}
	require.NoError(b, m.Close())
	return dir
}

// BenchmarkNewExistingStore is maqet.New on a store with 1,000 VMs.
func BenchmarkNewExistingStore(b *testing.B) {
	dir := populated(b)
	var took []time.Duration
	for range runs(b) {
		begun := time.Now()
		m, err := maqet.New(maqet.WithDir(dir))
		took = append(took, time.Since(begun))
		require.NoError(b, err)
		require.NoError(b, m.Close())
	}
	b.ReportMetric(ms(median(took)), "new-ms")
	b.ReportMetric(0, "ns/op")
	b.Logf("%v", sorted(took))
}

// BenchmarkGet is one Get by name among 1,000 VMs.
func BenchmarkGet(b *testing.B) {
	m, err := maqet.New(maqet.WithDir(populated(b)))
	require.NoError(b, err)
	defer func() { require.NoError(b, m.Close()) }()
	b.ReportAllocs()
	for b.Loop() {
		_, err := m.VM.Get(b.Context(), "vm0500")
		require.NoError(b, err)
	}
}

// BenchmarkList is a List of 1,000 VMs.
func BenchmarkList(b *testing.B) {
	m, err := maqet.New(maqet.WithDir(populated(b)))
	require.NoError(b, err)
	defer func() { require.NoError(b, m.Close()) }()
	b.ReportAllocs()
	for b.Loop() {
		list, err := m.VM.List(b.Context(), vm.Filter{})
		require.NoError(b, err)
		require.Len(b, list, manyVMs)
	}
}
