package benchmarks

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/vm"
)

// BenchmarkHotplugPorts boots the default guest with room for plugged devices, until a
// command ran in it: 0 to 8 PCI Express ports as functions of one slot, which is how
// Config.HotplugPorts makes them; 4 and 8 in slots of their own; slots for memory and
// CPUs. A difference of one in a hundred drowns in the load of the machine, so that there
// is a -counted-ms as well: the guest's own clock, which QEMU moves by 8 ns with each
// instruction (-icount) and which is the same at each run.
func BenchmarkHotplugPorts(b *testing.B) {
	m := open(b)
	variants := []struct {
		name string
		args []string
	}{
		{"none", haltedArgs(b, m, vm.Config{HotplugPorts: -1})},
		{"2-functions", haltedArgs(b, m, vm.Config{HotplugPorts: 2})},
		{"4-functions", haltedArgs(b, m, vm.Config{HotplugPorts: 4})},
		{"8-functions", haltedArgs(b, m, vm.Config{HotplugPorts: 8})},
		{"4-slots", slotPorts(haltedArgs(b, m, vm.Config{HotplugPorts: -1}), 4)},
		{"8-slots", slotPorts(haltedArgs(b, m, vm.Config{HotplugPorts: -1}), 8)},
		{"max-memory", haltedArgs(b, m, vm.Config{HotplugPorts: -1, MaxMemory: vm.GiB})},
		{"max-cpus", haltedArgs(b, m, vm.Config{HotplugPorts: -1, CPU: vm.CPU{Max: 4}})},
	}
	took := make([][]time.Duration, len(variants))
	for range runs(b) {
		for i, v := range variants {
			took[i] = append(took[i], bootBare(b, v.args))
		}
	}
	none := countedBoot(b, variants[0].args)
	for i, v := range variants {
		counted := countedBoot(b, v.args)
		b.ReportMetric(ms(median(took[i])), v.name+"-ms")
		b.ReportMetric(ms(counted), v.name+"-counted-ms")
		b.ReportMetric(ms(counted)/ms(none), v.name+"-counted-ratio")
		b.Logf("%-12s counted %v, took %v", v.name, counted, sorted(took[i]))
	}
	b.ReportMetric(0, "ns/op")
}

// haltedArgs returns the command line of cfg, without the halt.
func haltedArgs(b *testing.B, m *maqet.Maqet, cfg vm.Config) []string {
	b.Helper()
	inst, err := m.VM.Add(b.Context(), cfg)
	require.NoError(b, err)
	_, _, args := startHalted(b, m, inst.ID)
	return slices.DeleteFunc(args, func(a string) bool { return a == "-S" })
}

// slotPorts adds n ports in slots of their own.
func slotPorts(args []string, n int) []string {
	for i := range n {
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=hotplug%d,chassis=%d,addr=%x", i, i+1, 0x10+i))
	}
	return args
}

// countedBoot returns the guest's uptime when it runs its first command, by a clock that
// counts instructions.
func countedBoot(b *testing.B, args []string) time.Duration {
	b.Helper()
	args = append(slices.Clone(args), "-icount", "shift=3,sleep=off")
	q := startBare(b, args)
	defer q.end()
	conn := q.dial(streamOf(b, args))
	defer conn.Close()
	s, err := wire.Connect(b.Context(), conn)
	require.NoError(b, err)
	var uptime bytes.Buffer
	_, err = s.Exec(b.Context(), wire.ExecRequest{Args: []string{"cat", "/proc/uptime"}, Stdout: &uptime, Stderr: io.Discard})
	require.NoError(b, err)
	require.NoError(b, s.Close())
	var seconds float64
	_, err = fmt.Sscan(uptime.String(), &seconds)
	require.NoError(b, err)
	return time.Duration(seconds * float64(time.Second))
}
