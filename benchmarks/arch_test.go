package benchmarks

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

var arches = []string{"x86_64", "aarch64", "riscv64"}

// BenchmarkArchBoot compares Run, from the call until the guest's agent has answered,
// with the bare exec of the same command line until the agent answers the same.
func BenchmarkArchBoot(b *testing.B) {
	for _, arch := range arches {
		b.Run(arch, func(b *testing.B) {
			m := open(b)
			args := archArgs(b, m, arch)
			compare(b, side{"maqet", func(b *testing.B) time.Duration {
				begun := time.Now()
				g, err := m.Run(b.Context(), vm.Config{Arch: arch})
				took := time.Since(begun)
				require.NoError(b, err)
				_, err = g.Stop(b.Context(), vm.Force())
				require.NoError(b, err)
				require.NoError(b, g.Remove(b.Context()))
				return took
			}}, side{"bare", func(b *testing.B) time.Duration {
				took, _ := bootAgent(b, args)
				return took
			}})
		})
	}
}

// archArgs returns the command line of the default guest of an architecture, without
// the halt. Getting it fills the caches: kernel, init, initial RAM disk.
func archArgs(b *testing.B, m *maqet.Maqet, arch string) []string {
	b.Helper()
	inst, err := m.VM.Add(b.Context(), vm.Config{Arch: arch})
	require.NoError(b, err)
	_, err = m.VM.Start(b.Context(), inst.ID, vm.StartPaused())
	if missing := errors.Is(err, errors.ErrQEMUNotFound) || errors.Is(err, errors.ErrKernelNotFound); missing && os.Getenv("MAQET_REQUIRE") != "1" {
		b.Skip(err)
	}
	require.NoError(b, err)
	inst, err = m.VM.Get(b.Context(), inst.ID)
	require.NoError(b, err)
	_, err = m.VM.Stop(b.Context(), inst.ID, vm.Force())
	require.NoError(b, err)
	return slices.DeleteFunc(inst.Runtime.Args, func(a string) bool { return a == "-S" })
}

// bootAgent executes args, and returns how long it took until the guest's agent answered,
// and how much processor time that was.
func bootAgent(b *testing.B, args []string) (took, processor time.Duration) {
	b.Helper()
	q := startBare(b, args)
	took = q.until(socketOf(b, args, vm.ChannelAgent), func(conn net.Conn) {
		require.NoError(b, qmp.NewAgent(conn).Sync(b.Context()))
	})
	q.end()
	state := q.cmd.ProcessState
	return took, state.UserTime() + state.SystemTime()
}

// BenchmarkArchChoices does for the other architectures what BenchmarkBootChoices does
// for x86_64: one choice at a time is undone, or another one tried. Its -ms are the least
// processor time of the runs, which the load of the machine changes less than the rest.
func BenchmarkArchChoices(b *testing.B) {
	cpu := func(model string) func([]string) []string {
		return func(args []string) []string { return replaced(args, "-cpu", func(string) string { return model }) }
	}
	said := func(words string) func([]string) []string {
		return func(args []string) []string {
			return replaced(args, "-append", func(line string) string { return line + " " + words })
		}
	}
	not := func(prefix string) func([]string) []string {
		return func(args []string) []string { return unsaid(args, prefix) }
	}
	machine := func(option string) func([]string) []string {
		return func(args []string) []string {
			return replaced(args, "-machine", func(m string) string { return strings.Split(m, ",")[0] + option })
		}
	}
	none := func(args []string) []string { return args }
	variants := map[string][]variant{
		"aarch64": {
			{"default", none}, {"cpu-max", cpu("max")}, {"cpu-max-impdef", cpu("max,pauth-impdef=on")},
			{"cpu-max-no-sve", cpu("max,pauth=off,sve=off")}, {"cpu-a57", cpu("cortex-a57")}, {"cpu-n1", cpu("neoverse-n1")},
			{"gic-2", machine(",gic-version=2")},
			{"nokaslr", said("nokaslr")}, {"mitigations-off", said("mitigations=off")},
			{"cipher-self-tests", not("cryptomgr.notests")}, {"printk-on-console", not("quiet")},
		},
		"riscv64": {
			{"default", none}, {"3-level-page-tables", said("no4lvl")}, {"no-lsm", said("lsm=")},
			{"cipher-self-tests", not("cryptomgr.notests")}, {"printk-on-console", not("quiet")},
		},
	}
	for _, arch := range arches[1:] {
		b.Run(arch, func(b *testing.B) {
			args := archArgs(b, open(b), arch)
			took := map[string][]time.Duration{}
			for range runs(b) {
				for _, v := range variants[arch] {
					_, processor := bootAgent(b, v.change(args))
					took[v.name] = append(took[v.name], processor)
				}
			}
			for _, v := range variants[arch] {
				b.ReportMetric(ms(slices.Min(took[v.name])), v.name+"-ms")
				b.Logf("%-18s %v", v.name, sorted(took[v.name]))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// variant is a change to a command line.
type variant struct {
	name   string
	change func([]string) []string
}
