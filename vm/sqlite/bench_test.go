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

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/sqlite"
	"github.com/maqet/maqet/vm/storetest"
)

const benchVMs = 1000

// added returns an instance as Add records it.
func added(n int) vm.Instance {
	ran := storetest.Whole(n)
	return vm.Instance{
		ID: ran.ID, Name: ran.Name, State: vm.Created, Reason: vm.ReasonAdded, Owner: ran.Owner,
		Config: vm.Config{Name: ran.Name, Memory: 512 * vm.MiB, Labels: map[string]string{"team": "a"}},
	}
}

// fill makes a store with 1,000 VMs and returns its path. Records of [added] VMs are
// small; those of VMs that have run (storetest.Whole) are the largest there are.
func fill(b *testing.B, instance func(n int) vm.Instance) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "vms.db")
	s, err := sqlite.Open(context.Background(), path)
	require.NoError(b, err)
	for n := range benchVMs {
		_, err := s.Create(context.Background(), instance(n))
		require.NoError(b, err)
	}
	require.NoError(b, s.Close())
	return path
}

// report reports the median of times and its ratio to the limit that must be kept:
// below 1 is within it.
func report(b *testing.B, limit time.Duration, times []time.Duration) {
	slices.Sort(times)
	median := times[len(times)/2]
	b.ReportMetric(float64(median)/float64(time.Millisecond), "ms-median")
	b.ReportMetric(float64(median)/float64(limit), "of-limit")
}

// measure reports how long fn takes.
func measure(b *testing.B, limit time.Duration, fn func(n int)) {
	var times []time.Duration
	for n := 0; b.Loop(); n++ {
		start := time.Now()
		fn(n)
		times = append(times, time.Since(start))
	}
	report(b, limit, times)
}

func BenchmarkOpen(b *testing.B) {
	path := fill(b, storetest.Whole)
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		s, err := sqlite.Open(context.Background(), path)
		times = append(times, time.Since(start))
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
	report(b, 10*time.Millisecond, times)
}

func BenchmarkGet(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	path := fill(b, storetest.Whole)
	for what, ref := range map[string]func(n int) string{
		"name": func(n int) string { return storetest.Whole(n).Name },
		"id":   storetest.ID,
	} {
		refs := make([]string, benchVMs)
		for n := range refs {
			refs[n] = ref(n)
		}
		b.Run(what, func(b *testing.B) {
			s := open(b, path)
			measure(b, 200*time.Microsecond, func(n int) {
				_, err := s.Get(ctx, refs[n%benchVMs])
				require.NoError(b, err)
			})
		})
	}
}

// BenchmarkList lists by a store that has listed before, and by one that has not.
func BenchmarkList(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	list := func(b *testing.B, s *sqlite.Store) time.Duration {
		start := time.Now()
		list, err := s.List(ctx, vm.Filter{})
		took := time.Since(start)
		require.NoError(b, err)
		require.Len(b, list, benchVMs)
		return took
	}
	const limit = 20 * time.Millisecond
	for what, instance := range map[string]func(n int) vm.Instance{"added": added, "ran": storetest.Whole} {
		path := fill(b, instance)
		b.Run(what+"/again", func(b *testing.B) {
			s := open(b, path)
			list(b, s)
			measure(b, limit, func(int) { list(b, s) })
		})
		b.Run(what+"/first", func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				s, err := sqlite.Open(ctx, path)
				require.NoError(b, err)
				times = append(times, list(b, s))
				require.NoError(b, s.Close())
			}
			report(b, limit, times)
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	s := open(b, fill(b, storetest.Whole))
	ctx := context.Background()
	inst, err := s.Get(ctx, "vm0000")
	require.NoError(b, err)
	for b.Loop() {
		inst, err = s.Update(ctx, inst, inst.State, inst.Version)
		require.NoError(b, err)
	}
}

// BenchmarkFile records an image among a thousand, finds it, and forgets it.
func BenchmarkFile(b *testing.B) {
	ctx := context.Background()
	s := open(b, filepath.Join(b.TempDir(), "vms.db"))
	path := func(n int) string { return fmt.Sprintf("/var/lib/maqet/images/%s/disk%d.qcow2", storetest.ID(n), n) }
	put := func(n int) error {
		return s.PutFile(ctx, storage.File{Path: path(n), Owner: storetest.ID(n), Disk: "disk0", Kind: storage.KindOverlay,
			Format: storage.FormatQcow2, Size: 10 << 30, Base: "/var/lib/images/debian-12.qcow2", Created: time.Now().UTC()})
	}
	for n := range benchVMs {
		require.NoError(b, put(n))
	}
	const limit = time.Millisecond
	b.Run("put", func(b *testing.B) { measure(b, limit, func(n int) { require.NoError(b, put(n%benchVMs)) }) })
	b.Run("find", func(b *testing.B) {
		measure(b, limit, func(n int) {
			list, err := s.Files(ctx, storage.FileFilter{Path: path(n % benchVMs)})
			require.NoError(b, err)
			require.Len(b, list, 1)
		})
	})
	b.Run("overlays", func(b *testing.B) { // of an image that has none, as before it is deleted
		measure(b, limit, func(n int) {
			list, err := s.Files(ctx, storage.FileFilter{Base: path(n % benchVMs)})
			require.NoError(b, err)
			require.Empty(b, list)
		})
	})
	b.Run("drop", func(b *testing.B) {
		measure(b, limit, func(n int) { require.NoError(b, s.DropFile(ctx, path(n%benchVMs))) })
	})
}

// BenchmarkSnapshots records one of fifty snapshots of a VM, and lists them.
func BenchmarkSnapshots(b *testing.B) {
	ctx := context.Background()
	s := open(b, filepath.Join(b.TempDir(), "vms.db"))
	ran := storetest.Whole(1)
	put := func(n int) error {
		return s.PutSnapshot(ctx, snapshot.Record{VM: ran.ID, Name: fmt.Sprint("before step ", n%50), ID: storetest.ID(n), Kind: snapshot.Memory,
			Created: time.Now().UTC(), Config: ran.Config, Disks: []snapshot.RecordDisk{{Name: "disk0", Path: "/images/disk0.qcow2", Format: "qcow2"}}})
	}
	for n := range 50 {
		require.NoError(b, put(n))
	}
	b.Run("put", func(b *testing.B) { measure(b, time.Millisecond, func(n int) { require.NoError(b, put(n)) }) })
	b.Run("list", func(b *testing.B) {
		measure(b, 5*time.Millisecond, func(int) {
			list, err := s.Snapshots(ctx, ran.ID)
			require.NoError(b, err)
			require.Len(b, list, 50)
		})
	})
}
