package benchmarks

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// side is one of the two that are compared. It returns how long its one run took.
type side struct {
	name string
	run  func(b *testing.B) time.Duration
}

// runs is how often each side runs.
func runs(b *testing.B) int {
	b.Helper()
	text := os.Getenv("MAQET_RUNS")
	if text == "" {
		return 11
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("MAQET_RUNS=%q is not a positive number", text)
	}
	return n
}

// compare runs both sides in turns, and reports their medians and the ratio of the first to the
// second.
func compare(b *testing.B, ours, other side) {
	b.Helper()
	took := inTurns(b, runs(b), ours, other)
	b.ReportMetric(ms(took[0])/ms(took[1]), "ratio")
}

// inTurns runs each side n times, in turns, so that a busy moment of the machine falls on all,
// and reports and returns their medians.
func inTurns(b *testing.B, n int, sides ...side) (medians []time.Duration) {
	b.Helper()
	took := make([][]time.Duration, len(sides))
	for range n {
		for i, s := range sides {
			took[i] = append(took[i], s.run(b))
		}
	}
	for i, s := range sides {
		medians = append(medians, median(took[i]))
		b.ReportMetric(ms(medians[i]), s.name+"-ms")
		b.Logf("%s %v", s.name, sorted(took[i]))
	}
	b.ReportMetric(0, "ns/op") // the time of the whole benchmark says nothing
	return medians
}

func sorted(d []time.Duration) []time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	for i := range d {
		d[i] = d[i].Round(10 * time.Microsecond)
	}
	return d
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
