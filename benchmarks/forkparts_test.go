package benchmarks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// parts collects how long the parts of something took, over several runs.
type parts struct {
	names []string
	took  map[string][]time.Duration
}

func (p *parts) add(name string, d time.Duration) {
	if p.took == nil {
		p.took = map[string][]time.Duration{}
	}
	if p.took[name] == nil {
		p.names = append(p.names, name)
	}
	p.took[name] = append(p.took[name], d)
}

func (p *parts) report(b *testing.B) {
	b.Helper()
	for _, name := range p.names {
		b.ReportMetric(ms(median(p.took[name])), name+"-ms")
		b.Logf("%-10s %v", name, sorted(p.took[name]))
	}
	b.ReportMetric(0, "ns/op") // the time of the whole benchmark says nothing
}

// BenchmarkForkParts takes a fork until its first Exec apart: what comes before the steps of its
// start, each step, what comes after them, and the first programs. The last one is a plain Exec.
func BenchmarkForkParts(b *testing.B) {
	m := open(b)
	forkedQ35.capture(b, m, "base")
	var p parts
	for range runs(b) {
		begun := time.Now()
		g, err := m.Fork(b.Context(), "base")
		forked := time.Now()
		require.NoError(b, err)
		inst, err := g.Instance(b.Context())
		require.NoError(b, err)
		p.add("before", inst.Steps[0].Started.Sub(begun))
		for _, s := range inst.Steps {
			p.add(s.Name, s.Duration)
			begun = s.Started.Add(s.Duration)
		}
		p.add("after", forked.Sub(begun))
		for _, name := range []string{"exec1", "exec2", "exec3", "exec4"} {
			begun := time.Now()
			_, err = g.Exec(b.Context(), "true")
			p.add(name, time.Since(begun))
			require.NoError(b, err)
		}
		require.NoError(b, g.Remove(b.Context(), vm.ForceRemove()))
	}
	p.report(b)
}
