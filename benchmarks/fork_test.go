package benchmarks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// forked is a kind of guest whose forks are measured.
type forked struct {
	name   string
	rounds int // how often it boots; others take too long
	config func(b *testing.B) vm.Config
	settle []string // what is run once it answers, until it is worth a template
}

var (
	forkedQ35     = forked{name: "q35", rounds: 20, config: func(*testing.B) vm.Config { return vm.Config{} }}
	forkedMicroVM = forked{name: "microvm", rounds: 20, config: func(*testing.B) vm.Config { return vm.Config{Machine: "microvm"} }}
	forkedDebian  = forked{name: "debian", rounds: 3, config: debian,
		settle: []string{"sh", "-c", "systemctl is-system-running --wait || true"}}
)

// debian is the distribution that the tests use, with systemd and qemu-guest-agent.
func debian(b *testing.B) vm.Config {
	b.Helper()
	script, err := filepath.Abs("../scripts/debian-image.sh")
	require.NoError(b, err)
	out, err := exec.Command(script, "--path").Output()
	require.NoError(b, err)
	image := strings.TrimSpace(string(out))
	if _, err := os.Stat(image); err != nil && os.Getenv("MAQET_REQUIRE") != "1" {
		b.Skip("the Debian image is missing: run scripts/debian-image.sh")
	}
	const patience = vm.Duration(15 * time.Minute) // where it is emulated, and others work, too
	return vm.Config{CPU: vm.CPU{Count: 2}, Memory: 512 * vm.MiB, Disks: []vm.Disk{{Base: image}}, Networks: []vm.Network{{}},
		Timeouts: vm.Timeouts{Ready: patience, Silence: patience}}
}

// runs is how often each side is run.
func (f forked) runs(b *testing.B) int {
	b.Helper()
	if os.Getenv("MAQET_RUNS") != "" {
		return min(f.rounds, runs(b))
	}
	return f.rounds
}

// capture boots a guest, prepares it as a suite would, and makes a template of it.
func (f forked) capture(b *testing.B, m *maqet.Maqet, template string) snapshot.Template {
	b.Helper()
	cfg := f.config(b)
	cfg.Template = true
	g, err := m.Run(b.Context(), cfg)
	require.NoError(b, err)
	settle := f.settle
	if settle == nil {
		settle = []string{"true"}
	}
	_, err = g.Exec(b.Context(), settle...)
	require.NoError(b, err)
	t, err := g.Capture(b.Context(), template)
	require.NoError(b, err)
	require.NoError(b, g.Remove(b.Context()))
	return t
}

// BenchmarkForkExec compares a fork until its first Exec returns with the boot of such a guest
// until then, and with the least that a fork needs: the exec of a QEMU with the same command line
// until it greets, and an Exec on a guest that has run others.
func BenchmarkForkExec(b *testing.B) {
	for _, f := range []forked{forkedQ35, forkedMicroVM, forkedDebian} {
		b.Run(f.name, func(b *testing.B) {
			m := open(b)
			f.capture(b, m, "base")
			g, err := m.Fork(b.Context(), "base")
			require.NoError(b, err)
			inst, err := g.Instance(b.Context())
			require.NoError(b, err)
			took := inTurns(b, f.runs(b), side{"fork", func(b *testing.B) time.Duration {
				return first(b, func() (*maqet.Machine, error) { return m.Fork(b.Context(), "base") })
			}}, side{"boot", func(b *testing.B) time.Duration {
				return first(b, func() (*maqet.Machine, error) { return m.Run(b.Context(), f.config(b)) })
			}}, side{"bare", func(b *testing.B) time.Duration {
				q := startBare(b, inst.Runtime.Args)
				defer q.end()
				greeting, _ := q.handshake(0)
				return greeting
			}}, side{"exec", func(b *testing.B) time.Duration { return plainExec(b, g) }})
			b.ReportMetric(ms(took[1])/ms(took[0]), "boot/fork")
			b.ReportMetric(ms(took[0])/ms(took[2]+took[3]), "fork/(bare+exec)")
		})
	}
}

// first returns how long it takes from the call of start until an Exec has returned, and removes
// the guest.
func first(b *testing.B, start func() (*maqet.Machine, error)) time.Duration {
	b.Helper()
	begun := time.Now()
	g, err := start()
	require.NoError(b, err)
	_, err = g.Exec(b.Context(), "true")
	took := time.Since(begun)
	require.NoError(b, err)
	require.NoError(b, g.Remove(b.Context(), vm.ForceRemove()))
	return took
}

// plainExec returns how long an Exec takes on a guest that has run others.
func plainExec(b *testing.B, g *maqet.Machine) time.Duration {
	b.Helper()
	_, err := g.Exec(b.Context(), "true")
	require.NoError(b, err)
	begun := time.Now()
	_, err = g.Exec(b.Context(), "true")
	took := time.Since(begun)
	require.NoError(b, err)
	return took
}

// BenchmarkPoolExec compares an Exec on a fork that a pool had ready, with the call that hands it
// out, with an Exec on a guest that has run others.
func BenchmarkPoolExec(b *testing.B) {
	for _, f := range []forked{forkedQ35, forkedMicroVM, forkedDebian} {
		b.Run(f.name, func(b *testing.B) {
			m := open(b)
			f.capture(b, m, "base")
			g, err := m.Fork(b.Context(), "base")
			require.NoError(b, err)
			pool, err := m.NewPool(b.Context(), "base", snapshot.PoolOptions{Size: 1})
			require.NoError(b, err)
			defer func() { require.NoError(b, pool.Close()) }()
			full := func() {
				for pool.Status().Ready == 0 { // only what is measured happens meanwhile
					time.Sleep(10 * time.Millisecond)
				}
			}
			took := inTurns(b, 20, side{"pool", func(b *testing.B) time.Duration {
				full()
				return first(b, func() (*maqet.Machine, error) { return pool.Get(b.Context()) })
			}}, side{"exec", func(b *testing.B) time.Duration {
				full()
				return plainExec(b, g)
			}})
			b.ReportMetric(ms(took[0])/ms(took[1]), "pool/exec")
		})
	}
}

// BenchmarkCapture captures guests that have just booted, with a disk, and reports how long they
// stood still, and how long the call took.
func BenchmarkCapture(b *testing.B) {
	for _, f := range []forked{forkedQ35, forkedMicroVM, forkedDebian} {
		b.Run(f.name, func(b *testing.B) {
			m := open(b)
			inTurns(b, f.runs(b), side{"pause", func(b *testing.B) time.Duration {
				pause := f.capture(b, m, "base").Pause
				require.NoError(b, m.Snapshot.DeleteTemplate(b.Context(), "base"))
				return pause
			}})
		})
	}
}
