package benchmarks

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/vm"
)

// BenchmarkBootChoices boots the default guest's own command line until its first Exec
// returns, and the same with one choice at a time undone. What is slower than "default"
// is what the choice brings.
func BenchmarkBootChoices(b *testing.B) {
	m := open(b)
	inst, err := m.VM.Add(b.Context(), vm.Config{})
	require.NoError(b, err)
	_, _, args := startHalted(b, m, inst.ID)
	args = slices.DeleteFunc(args, func(a string) bool { return a == "-S" })
	k, err := kernel.Find(b.Context(), kernel.Options{})
	require.NoError(b, err)

	variants := []struct {
		name string
		args []string
	}{
		{"default", args},
		{"compressed-kernel", replaced(args, "-kernel", func(string) string { return k.Path })},
		{"seabios", without(args, "-bios")},
		{"cipher-self-tests", unsaid(args, "cryptomgr.notests")},
		{"replaces-smp", unsaid(args, "noreplace-smp")},
		{"no-tsc-early-khz", unsaid(args, "tsc_early_khz=")},
		{"printk-on-console", unsaid(args, "quiet")},
		{"cpu-max", replaced(args, "-cpu", func(string) string { return "max" })},
		{"cpu-qemu64-arat", replaced(args, "-cpu", func(string) string { return "qemu64,+arat" })},
		{"no-sandbox", without(args, "-sandbox")},
	}
	took := make([][]time.Duration, len(variants))
	for range runs(b) {
		for i, v := range variants {
			took[i] = append(took[i], bootBare(b, v.args))
		}
	}
	for i, v := range variants {
		b.ReportMetric(ms(median(took[i])), v.name+"-ms")
		b.Logf("%-18s %v", v.name, sorted(took[i]))
	}
	b.ReportMetric(0, "ns/op")
}

// bootBare executes args, and returns how long it took until a command ran in the guest.
func bootBare(b *testing.B, args []string) time.Duration {
	b.Helper()
	q := startBare(b, args)
	defer q.end()
	return q.until(streamOf(b, args), func(conn net.Conn) { execTrue(b, conn) })
}

// streamOf returns which of the inherited sockets is the stream's.
func streamOf(b *testing.B, args []string) int {
	b.Helper()
	return socketOf(b, args, vm.ChannelStream0)
}

// socketOf returns which of the inherited sockets is a channel's.
func socketOf(b *testing.B, args []string, channel string) int {
	b.Helper()
	sockets := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !strings.HasPrefix(a, "socket,") })
	i := slices.IndexFunc(sockets, func(a string) bool { return strings.Contains(a, "id="+channel+",") })
	require.GreaterOrEqual(b, i, 0)
	return i
}

func execTrue(b *testing.B, conn net.Conn) {
	b.Helper()
	s, err := wire.Connect(b.Context(), conn)
	require.NoError(b, err)
	_, err = s.Exec(b.Context(), wire.ExecRequest{Args: []string{"true"}, Stdout: io.Discard, Stderr: io.Discard})
	require.NoError(b, err)
	require.NoError(b, s.Close())
}

// replaced returns args with the option's value changed.
func replaced(args []string, option string, change func(string) string) []string {
	args = slices.Clone(args)
	if i := slices.Index(args, option); i >= 0 {
		args[i+1] = change(args[i+1])
	}
	return args
}

// without returns args without an option and its value.
func without(args []string, option string) []string {
	i := slices.Index(args, option)
	if i < 0 {
		return args
	}
	return slices.Delete(slices.Clone(args), i, i+2)
}

// unsaid returns args without one argument of the kernel.
func unsaid(args []string, prefix string) []string {
	return replaced(args, "-append", func(cmdline string) string {
		words := slices.DeleteFunc(strings.Fields(cmdline), func(w string) bool { return strings.HasPrefix(w, prefix) })
		return strings.Join(words, " ")
	})
}
