package benchmarks

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// crowd is how many guests run at once, and coldRounds how often that many are booted.
const (
	crowd      = 16
	coldRounds = 5
)

// work is what each guest of a crowd has done when its memory is counted.
const work = `head -c 1048576 /dev/urandom > /tmp/w && sort /tmp/w | sha256sum`

// BenchmarkForkCrowd compares 16 forks that are made at once with 16 guests that boot at once:
// how long it takes until an Exec has returned on all of them, and the memory of their QEMUs after
// each has done the same work. template-MiB is the template's memory, which the forks share: what
// of it none of them has touched is in no process.
func BenchmarkForkCrowd(b *testing.B) {
	for _, f := range []forked{forkedQ35, forkedMicroVM} {
		b.Run(f.name, func(b *testing.B) {
			m := open(b)
			before := shared(b)
			f.capture(b, m, "base")
			forks, forkMiB := crowds(b, f.runs(b), func() (*maqet.Machine, error) { return m.Fork(b.Context(), "base") })
			b.ReportMetric(shared(b)-before, "template-MiB")
			boots, bootMiB := crowds(b, min(coldRounds, f.runs(b)), func() (*maqet.Machine, error) { return m.Run(b.Context(), f.config(b)) })
			b.ReportMetric(ms(forks), "forks-ms")
			b.ReportMetric(ms(boots), "boots-ms")
			b.ReportMetric(ms(boots)/ms(forks), "boots/forks")
			b.ReportMetric(forkMiB, "forks-MiB")
			b.ReportMetric(bootMiB, "boots-MiB")
			b.ReportMetric(100*forkMiB/bootMiB, "memory-%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// crowds starts a crowd n times. It returns how long it took until all had answered, the median,
// and the MiB of the last one after its work.
func crowds(b *testing.B, n int, start func() (*maqet.Machine, error)) (time.Duration, float64) {
	b.Helper()
	var took []time.Duration
	var mib float64
	for round := range n {
		guests := make([]*maqet.Machine, crowd)
		all := func(do func(i int) error) {
			var group errgroup.Group
			for i := range guests {
				group.Go(func() error { return do(i) })
			}
			require.NoError(b, group.Wait())
		}
		begun := time.Now()
		all(func(i int) (err error) {
			if guests[i], err = start(); err == nil {
				_, err = guests[i].Exec(b.Context(), "true")
			}
			return err
		})
		took = append(took, time.Since(begun))
		if round == n-1 {
			all(func(i int) error { _, err := guests[i].Exec(b.Context(), "sh", "-c", work); return err })
			mib = proportional(b, guests)
		}
		all(func(i int) error { return guests[i].Remove(b.Context(), vm.ForceRemove()) })
	}
	b.Logf("%v", sorted(took))
	return median(took), mib
}

// proportional sums up what the QEMUs of the guests use, in MiB: of memory that several have
// mapped each has its share (proc(5), smaps_rollup).
func proportional(b *testing.B, guests []*maqet.Machine) (mib float64) {
	b.Helper()
	for _, g := range guests {
		inst, err := g.Instance(b.Context())
		require.NoError(b, err)
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", inst.Runtime.Process.PID))
		require.NoError(b, err)
		_, after, ok := strings.Cut(string(data), "\nPss:")
		require.True(b, ok)
		var kib float64
		_, err = fmt.Sscan(after, &kib)
		require.NoError(b, err)
		mib += kib / 1024
	}
	return mib
}

// shared sums up the memory files that this process has open, in MiB.
func shared(b *testing.B) (mib float64) {
	b.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(b, err)
	for _, fd := range fds {
		path := "/proc/self/fd/" + fd.Name()
		var st unix.Stat_t
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, "/memfd:") && unix.Stat(path, &st) == nil {
			mib += float64(st.Blocks) * 512 / (1 << 20)
		}
	}
	return mib
}

// BenchmarkForkReset compares a fork that continues from its template again with a guest that
// loads a memory snapshot of itself, each until its next Exec has returned: as they are, and after
// they have written to much of their memory.
func BenchmarkForkReset(b *testing.B) {
	for _, dirty := range []string{"0", "64"} {
		b.Run(dirty+"MiB-written", func(b *testing.B) {
			m := open(b)
			f := forked{config: func(*testing.B) vm.Config {
				return vm.Config{Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}}
			}}
			f.capture(b, m, "base")
			fork, err := m.Fork(b.Context(), "base")
			require.NoError(b, err)
			other, err := m.Run(b.Context(), f.config(b))
			require.NoError(b, err)
			_, err = other.Snapshot(b.Context(), "base")
			require.NoError(b, err)
			back := func(g *maqet.Machine, reset func() error) side {
				return side{"", func(b *testing.B) time.Duration {
					_, err := g.Exec(b.Context(), "sh", "-c", "dd if=/dev/zero of=/tmp/dirty bs=1M count="+dirty+" 2>/dev/null")
					require.NoError(b, err)
					begun := time.Now()
					require.NoError(b, reset())
					_, err = g.Exec(b.Context(), "true")
					require.NoError(b, err)
					return time.Since(begun)
				}}
			}
			reset := back(fork, func() error { return fork.ResetToTemplate(b.Context()) })
			load := back(other, func() error { return other.Load(b.Context(), "base") })
			compare(b, side{"reset", reset.run}, side{"load", load.run})
		})
	}
}
