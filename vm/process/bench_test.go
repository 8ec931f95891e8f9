package process

import (
	"bufio"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// BenchmarkLaunch compares Launch and Connect with executing the same command line and
// nothing else, in turns: until QEMU greets, and until it has answered qmp_capabilities,
// which it does when its devices exist.
func BenchmarkLaunch(b *testing.B) {
	const runs = 15
	h := newHouse(b)
	spec := specOf(vm.Config{})
	first := h.launch(spec)
	args := first.Runtime().Args
	h.end(first, spec)

	var executed, answered, bareGreeting, bareAnswer []time.Duration
	for b.Loop() {
		for range runs {
			begun := time.Now()
			got, err := h.b.Launch(b.Context(), spec)
			require.NoError(b, err)
			executed = append(executed, time.Since(begun))
			require.NoError(b, got.Connect(b.Context()))
			answered = append(answered, time.Since(begun))
			h.end(got.(*guest), spec)

			greeting, answer := bareLaunch(b, h.dir, args)
			bareGreeting, bareAnswer = append(bareGreeting, greeting), append(bareAnswer, answer)
		}
	}
	ours, bare := median(answered), median(bareAnswer)
	b.ReportMetric(ms(median(executed)), "launch-ms")
	b.ReportMetric(ms(median(bareGreeting)), "bare-greeting-ms")
	b.ReportMetric(ms(ours), "connected-ms")
	b.ReportMetric(ms(bare), "bare-answer-ms")
	b.ReportMetric(ms(ours)/ms(bare), "ratio")
	b.ReportMetric(0, "ns/op") // the time of the whole benchmark says nothing
}

// bareLaunch executes args with listening sockets for the descriptors that they expect,
// which are made before the clock starts.
func bareLaunch(b *testing.B, dir string, args []string) (greeting, answer time.Duration) {
	b.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var first *net.UnixListener
	for i := range 6 {
		path := filepath.Join(dir, "bare"+strconv.Itoa(i))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		require.NoError(b, err)
		defer l.Close()
		f, err := l.File()
		require.NoError(b, err)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		if first == nil {
			first = l
		}
	}
	begun := time.Now()
	require.NoError(b, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	conn, err := net.Dial("unix", first.Addr().String())
	require.NoError(b, err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	_, err = in.ReadString('\n')
	require.NoError(b, err)
	greeting = time.Since(begun)
	_, err = conn.Write([]byte(`{"execute":"qmp_capabilities"}`))
	require.NoError(b, err)
	_, err = in.ReadString('\n')
	require.NoError(b, err)
	return greeting, time.Since(begun)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
