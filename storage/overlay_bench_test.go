package storage_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

// BenchmarkOverlay makes an overlay, and has qemu-img make the same, in turn: the medians
// of both, and how many times as long qemu-img takes.
func BenchmarkOverlay(b *testing.B) {
	m, root := manage(b)
	base, err := m.Create(b.Context(), storage.CreateSpec{Path: filepath.Join(root, "base"), Size: 10 << 30})
	require.NoError(b, err)
	var ours, theirs []time.Duration
	for n := 0; b.Loop(); n++ {
		path := filepath.Join(root, fmt.Sprint("ours", n))
		began := time.Now()
		_, err := m.Overlay(b.Context(), storage.OverlaySpec{Path: path, Base: base.Path, BaseFormat: base.Format})
		ours = append(ours, time.Since(began))
		if err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		out, err := runImg("create", "-q", "-f", "qcow2", "-b", base.Path, "-F", base.Format, filepath.Join(root, fmt.Sprint("theirs", n)))
		theirs = append(theirs, time.Since(began))
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	b.ReportMetric(0, "ns/op") // of both
	b.ReportMetric(float64(median(ours).Microseconds()), "µs/overlay")
	b.ReportMetric(float64(median(theirs).Microseconds()), "µs/qemu-img")
	b.ReportMetric(float64(median(theirs))/float64(median(ours)), "times")
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
