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
	repeat(b, "get-ms", 100*runs(b), func() {
		_, err := m.VM.Get(b.Context(), "vm0500")
		require.NoError(b, err)
	})
}

// BenchmarkList is a List of 1,000 VMs: the first in a process, and the later ones.
func BenchmarkList(b *testing.B) {
	dir := populated(b)
	m, err := maqet.New(maqet.WithDir(dir))
	require.NoError(b, err)
	defer func() { require.NoError(b, m.Close()) }()
	list := func(m *maqet.Maqet) {
		list, err := m.VM.List(b.Context(), vm.Filter{})
		require.NoError(b, err)
		require.Len(b, list, manyVMs)
	}
	repeat(b, "list-ms", runs(b), func() { list(m) })
	var first []time.Duration
	for range runs(b) {
		fresh, err := maqet.New(maqet.WithDir(dir)) // remembers nothing yet
		require.NoError(b, err)
		begun := time.Now()
		list(fresh)
		first = append(first, time.Since(begun))
		require.NoError(b, fresh.Close())
	}
	b.ReportMetric(ms(median(first)), "first-list-ms")
}

// repeat reports the median of many calls.
func repeat(b *testing.B, unit string, times int, fn func()) {
	b.Helper()
	var took []time.Duration
	for range times {
		begun := time.Now()
		fn()
		took = append(took, time.Since(begun))
	}
	b.ReportMetric(ms(median(took)), unit)
	b.ReportMetric(0, "ns/op")
}
