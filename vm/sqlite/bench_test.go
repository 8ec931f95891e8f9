//go:build cgo

package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/sqlite"
	"github.com/maqet/maqet/vm/storetest"
)

const benchVMs = 1000

// fill makes a store with 1,000 VMs that have all run and stopped, which are the
// largest records there are, and returns its path.
func fill(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "vms.db")
	s, err := sqlite.Open(context.Background(), path)
	require.NoError(b, err)
	for n := range benchVMs {
		_, err := s.Create(context.Background(), storetest.Whole(n))
		require.NoError(b, err)
	}
	require.NoError(b, s.Close())
	return path
}

// measure runs fn b.N times and reports the median and its ratio to the limit that
// must be kept: below 1 is within it.
func measure(b *testing.B, limit time.Duration, fn func(n int)) {
	var times []time.Duration
	for n := 0; b.Loop(); n++ {
		start := time.Now()
		fn(n)
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	median := times[len(times)/2]
	b.ReportMetric(float64(median)/float64(time.Millisecond), "ms-median")
	b.ReportMetric(float64(median)/float64(limit), "of-limit")
}

func BenchmarkOpen(b *testing.B) {
	path := fill(b)
	measure(b, 10*time.Millisecond, func(int) {
		s, err := sqlite.Open(context.Background(), path)
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, s.Close())
		b.StartTimer()
	})
}

func BenchmarkGet(b *testing.B) {
	s := open(b, fill(b))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, by := range []string{"name", "id"} {
		b.Run(by, func(b *testing.B) {
			measure(b, 200*time.Microsecond, func(n int) {
				ref := fmt.Sprintf("vm%04d", n%benchVMs)
				if by == "id" {
					ref = storetest.ID(n % benchVMs)
				}
				_, err := s.Get(ctx, ref)
				require.NoError(b, err)
			})
		})
	}
}

// BenchmarkList lists by a store that has listed before, and by one that has not.
func BenchmarkList(b *testing.B) {
	path := fill(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	list := func(b *testing.B, s *sqlite.Store) {
		list, err := s.List(ctx, vm.Filter{})
		require.NoError(b, err)
		require.Len(b, list, benchVMs)
	}
	b.Run("again", func(b *testing.B) {
		s := open(b, path)
		list(b, s)
		measure(b, 20*time.Millisecond, func(int) { list(b, s) })
	})
	b.Run("first", func(b *testing.B) {
		var times []time.Duration
		for b.Loop() {
			s := open(b, path)
			start := time.Now()
			list(b, s)
			times = append(times, time.Since(start))
		}
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2])/float64(time.Millisecond), "ms-median")
		b.ReportMetric(float64(times[len(times)/2])/float64(20*time.Millisecond), "of-limit")
	})
}

func BenchmarkUpdate(b *testing.B) {
	s := open(b, fill(b))
	ctx := context.Background()
	inst, err := s.Get(ctx, "vm0000")
	require.NoError(b, err)
	for b.Loop() {
		inst, err = s.Update(ctx, inst, inst.State, inst.Version)
		require.NoError(b, err)
	}
}
