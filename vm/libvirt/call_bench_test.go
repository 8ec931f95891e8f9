package libvirt

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// connBare is go-libvirt as it comes.
func connBare(b *testing.B) *libvirt.Libvirt {
	b.Helper()
	d := daemon.Get(b)
	c, err := net.Dial("unix", d.Socket())
	require.NoError(b, err)
	l := libvirt.NewWithDialer(dialers.NewAlreadyConnected(c))
	require.NoError(b, l.ConnectToURI(d.Driver()))
	b.Cleanup(func() { require.NoError(b, l.Disconnect()) })
	return l
}

// connCompare has both ways make a cheap call by turns, from so many goroutines at once, and
// reports the medians and their ratio.
func connCompare(b *testing.B, goroutines int) {
	h, bare := connHost(b, daemon.Get(b)), connBare(b)
	ours := func() error { return h.call(b.Context(), "ask", "", connVersion) }
	theirs := func() error { return connVersion(bare) }
	const each = 50 // calls of a goroutine in a round
	var took [2][]time.Duration
	round := func(call func() error) time.Duration {
		var wg sync.WaitGroup
		errs := make([]error, goroutines)
		begun := time.Now()
		for n := range goroutines {
			wg.Go(func() {
				for range each {
					errs[n] = errors.Join(errs[n], call())
				}
			})
		}
		wg.Wait()
		require.NoError(b, errors.Join(errs...))
		return time.Since(begun) / time.Duration(each*goroutines)
	}
	for n := 0; b.Loop(); n++ { // who begins matters little, but it does
		for _, way := range []int{n % 2, 1 - n%2} {
			took[way] = append(took[way], round([]func() error{ours, theirs}[way]))
		}
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2]) / float64(time.Microsecond)
	}
	b.ReportMetric(0, "ns/op") // of both
	b.ReportMetric(median(took[0]), "µs/call")
	b.ReportMetric(median(took[1]), "µs/bare")
	b.ReportMetric(median(took[0])/median(took[1]), "ratio")
}

// BenchmarkCall is what a call costs beside go-libvirt's own: its context, its turn on the
// connection, and that nobody is left waiting.
func BenchmarkCall(b *testing.B) { connCompare(b, 1) }

func BenchmarkCall16(b *testing.B) { connCompare(b, 16) }
