package benchmarks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// open returns a Maqet in a folder of its own. Its path is short: sockets lie below it.
func open(b *testing.B, opts ...maqet.Option) *maqet.Maqet {
	b.Helper()
	dir, err := os.MkdirTemp("", "mqb-")
	require.NoError(b, err)
	m, err := maqet.New(append(opts, maqet.WithDir(dir))...)
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, m.Close())
		require.NoError(b, os.RemoveAll(dir))
	})
	return m
}

// BenchmarkStartQMP compares a start until QMP answers with the bare exec of the same
// command line, at both points where it does: QEMU greets, then makes its devices, and
// then answers qmp_capabilities. The clocks run from the call of Start, with everything
// that it checks and records, and from just before the exec.
func BenchmarkStartQMP(b *testing.B) {
	for _, point := range []string{"greeting", "capabilities"} {
		b.Run(point, func(b *testing.B) {
			m := open(b)
			inst, err := m.VM.Add(b.Context(), vm.Config{})
			require.NoError(b, err)
			var args []string
			start := func(b *testing.B) time.Duration {
				greeting, ready, argv := startHalted(b, m, inst.ID)
				args = argv
				if point == "greeting" {
					return greeting
				}
				return ready
			}
			start(b) // fills the caches: kernel, initrd, what this QEMU can do
			compare(b, side{"maqet", start}, side{"bare", func(b *testing.B) time.Duration {
				q := startBare(b, args)
				defer q.end()
				greeting, answer := q.handshake(0)
				if point == "greeting" {
					return greeting
				}
				return answer
			}})
		})
	}
}

// startHalted starts a VM with halted CPUs and kills it again. It returns how long
// after the call QEMU greeted, and Start returned.
func startHalted(b *testing.B, m *maqet.Maqet, id string) (greeting, ready time.Duration, args []string) {
	b.Helper()
	begun := time.Now()
	inst, err := m.VM.Start(b.Context(), id, vm.StartPaused())
	ready = time.Since(begun)
	require.NoError(b, err)
	conn, err := m.VM.QMP(b.Context(), id)
	require.NoError(b, err)
	greeting = conn.(interface{ Greeting() qmp.Greeting }).Greeting().Received.Sub(begun)
	_, err = m.VM.Stop(b.Context(), id, vm.Force())
	require.NoError(b, err)
	return greeting, ready, inst.Runtime.Args
}

// BenchmarkStartExec compares a start of the default guest until its first Exec
// returns with a plain QEMU: -M q35, the compressed kernel as the distribution ships it,
// the same initrd and memory, until the same answer.
func BenchmarkStartExec(b *testing.B) {
	m := open(b)
	var args []string
	k, err := kernel.Find(b.Context(), kernel.Options{})
	require.NoError(b, err)
	ours := side{"maqet", func(b *testing.B) time.Duration {
		begun := time.Now()
		g, err := m.Run(b.Context(), vm.Config{})
		require.NoError(b, err)
		_, err = g.Exec(b.Context(), "true")
		took := time.Since(begun)
		require.NoError(b, err)
		inst, err := g.Instance(b.Context())
		require.NoError(b, err)
		args = inst.Runtime.Args
		_, err = g.Stop(b.Context(), vm.Force())
		require.NoError(b, err)
		require.NoError(b, g.Remove(b.Context()))
		return took
	}}
	ours.run(b) // fills the caches
	compare(b, ours, side{"plain", func(b *testing.B) time.Duration {
		q := startBare(b, []string{
			args[0], "-M", "q35", "-accel", accelOf(args), "-m", "256M", "-display", "none", "-no-reboot",
			"-kernel", k.Path, "-initrd", argument(b, args, "-initrd"), "-append", "console=ttyS0",
			"-serial", "file:" + filepath.Join(b.TempDir(), "console"),
			"-chardev", "socket,id=s0,fd=3,server=on,wait=off", "-device", "virtio-serial-pci",
			"-device", "virtserialport,chardev=s0,name=org.maqet.stream.0",
		})
		defer q.end()
		return q.until(0, func(conn net.Conn) { execTrue(b, conn) })
	}})
}

// BenchmarkBoots boots the default guest MAQET_BOOTS times (default 20) until its first
// Exec returns, and counts those that do not get there.
func BenchmarkBoots(b *testing.B) {
	m := open(b)
	boots := 20
	if text := os.Getenv("MAQET_BOOTS"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(b, err)
		boots = n
	}
	var took []time.Duration
	for i := range boots {
		begun := time.Now()
		g, err := m.Run(b.Context(), vm.Config{})
		if err == nil {
			_, err = g.Exec(b.Context(), "true")
		}
		if err != nil {
			b.Errorf("boot %d of %d: %v", i+1, boots, err)
			continue
		}
		took = append(took, time.Since(begun))
		_, err = g.Stop(b.Context(), vm.Force())
		require.NoError(b, err)
		require.NoError(b, g.Remove(b.Context()))
	}
	b.ReportMetric(float64(len(took)), "reached")
	b.ReportMetric(float64(boots), "boots")
	b.ReportMetric(ms(median(took)), "median-ms")
	b.ReportMetric(ms(slices.Max(took)), "max-ms")
	b.ReportMetric(0, "ns/op")
}

func accelOf(args []string) string {
	for i, a := range args {
		if a == "-accel" {
			return strings.Split(args[i+1], ",")[0]
		}
	}
	return "tcg"
}

// until does work on the n-th socket and returns how long after the exec it was done.
func (q *bare) until(n int, work func(conn net.Conn)) time.Duration {
	conn := q.dial(n)
	defer conn.Close()
	work(conn)
	return time.Since(q.begun)
}

// BenchmarkExec compares an Exec of a program that does nothing with a raw ping of
// the agent plus the guest's own fork and exec of that program, on the same guest.
func BenchmarkExec(b *testing.B) {
	m := open(b)
	g, err := m.Run(b.Context(), vm.Config{})
	require.NoError(b, err)
	inst, err := g.Instance(b.Context())
	require.NoError(b, err)
	const rounds = 50
	var execs, pings []time.Duration
	exec := func(args ...string) time.Duration {
		begun := time.Now()
		_, err := g.Exec(b.Context(), args...)
		require.NoError(b, err)
		return time.Since(begun)
	}
	exec("/bin/true") // translates the code
	agent, closeAgent := dialAgent(b, m, inst.ID)
	for range rounds {
		execs = append(execs, exec("/bin/true"))
		begun := time.Now()
		_, err := agent.Execute(b.Context(), "guest-ping", nil)
		require.NoError(b, err)
		pings = append(pings, time.Since(begun))
	}
	closeAgent()
	// The guest's own: a shell that forks and executes it many times, less the shell.
	const loops = 100
	loop := fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done", loops)
	own := (exec("sh", "-c", loop) - exec("sh", "-c", strings.ReplaceAll(loop, "/bin/true", ":"))) / loops
	over := median(execs) - median(pings) - own
	b.ReportMetric(ms(median(execs)), "exec-ms")
	b.ReportMetric(ms(median(pings)), "ping-ms")
	b.ReportMetric(ms(own), "guest-fork-exec-ms")
	b.ReportMetric(ms(over), "above-ms")
	b.ReportMetric(0, "ns/op")
}

// dialAgent opens the agent's channel, without guest.Manager.
func dialAgent(b *testing.B, m *maqet.Maqet, id string) (*qmp.Agent, func()) {
	b.Helper()
	live, err := m.VM.Live(b.Context(), id)
	require.NoError(b, err)
	conn, err := live.Dial(b.Context(), vm.ChannelAgent, true)
	require.NoError(b, err)
	agent := qmp.NewAgent(conn)
	require.NoError(b, agent.Sync(b.Context()))
	return agent, func() { require.NoError(b, agent.Close()) }
}

// treeSize is how much the copied tree holds; fileSize how much goes through the
// agent's file commands, whose speed does not depend on it.
const (
	treeSize = 100 << 20
	fileSize = 6 << 20
)

// makeTree writes a tree of treeSize bytes that can't be compressed.
func makeTree(b *testing.B) string {
	b.Helper()
	root := b.TempDir()
	random := rand.NewChaCha8([32]byte{})
	for i := range 20 {
		dir := filepath.Join(root, fmt.Sprintf("d%d", i%4))
		require.NoError(b, os.MkdirAll(dir, 0o755))
		data := make([]byte, treeSize/20)
		_, err := random.Read(data)
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), data, 0o644))
	}
	return root
}

// BenchmarkCopyTree compares CopyTo and CopyFrom of a 100 MB tree with the agent's
// guest-file-write and guest-file-read, in MB/s, and watches the memory of both sides.
func BenchmarkCopyTree(b *testing.B) {
	m := open(b)
	g, err := m.Run(b.Context(), vm.Config{Memory: 768 * vm.MiB})
	require.NoError(b, err)
	tree := makeTree(b)
	_, err = g.Exec(b.Context(), "sh", "-c", "mkdir -p /mnt && mount -t tmpfs -o size=600m tmpfs /mnt")
	require.NoError(b, err)
	hostBefore, guestBefore := peakMemory(b, "/proc/self/status"), guestPeak(b, g)
	agent, closeAgent := dialAgent(b, m, g.ID())
	defer closeAgent()
	var tos, froms, writes, reads []time.Duration
	for range runs(b) {
		to, from := copyTree(b, g, tree)
		write, read := agentFile(b, agent)
		tos, froms, writes, reads = append(tos, to), append(froms, from), append(writes, write), append(reads, read)
	}
	hostGrew, guestGrew := peakMemory(b, "/proc/self/status")-hostBefore, guestPeak(b, g)-guestBefore
	to, from := speed(treeSize, median(tos)), speed(treeSize, median(froms))
	write, read := speed(fileSize, median(writes)), speed(fileSize, median(reads))
	b.ReportMetric(to, "to-MB/s")
	b.ReportMetric(write, "file-write-MB/s")
	b.ReportMetric(to/write, "to-ratio")
	b.ReportMetric(from, "from-MB/s")
	b.ReportMetric(read, "file-read-MB/s")
	b.ReportMetric(from/read, "from-ratio")
	b.ReportMetric(float64(hostGrew)/1024, "host-grew-MiB")
	b.ReportMetric(float64(guestGrew)/1024, "init-grew-MiB")
	b.ReportMetric(0, "ns/op")
}

// copyTree copies the tree into the guest and back, and removes both copies.
func copyTree(b *testing.B, g *maqet.Machine, tree string) (to, from time.Duration) {
	b.Helper()
	back := filepath.Join(b.TempDir(), "back")
	begun := time.Now()
	require.NoError(b, g.CopyTo(b.Context(), tree, "/mnt/tree"))
	to = time.Since(begun)
	begun = time.Now()
	require.NoError(b, g.CopyFrom(b.Context(), "/mnt/tree", back))
	from = time.Since(begun)
	_, err := g.Exec(b.Context(), "rm", "-r", "/mnt/tree")
	require.NoError(b, errors.Join(err, os.RemoveAll(back)))
	return to, from
}

func speed(bytes int, took time.Duration) float64 { return float64(bytes) / 1e6 / took.Seconds() }

// peakMemory returns VmHWM, the largest resident set so far, in KiB.
func peakMemory(b *testing.B, status string) int {
	b.Helper()
	data, err := os.ReadFile(status)
	require.NoError(b, err)
	return hwm(b, string(data))
}

func guestPeak(b *testing.B, g *maqet.Machine) int {
	b.Helper()
	data, err := g.ReadFile(b.Context(), "/proc/1/status")
	require.NoError(b, err)
	return hwm(b, string(data))
}

func hwm(b *testing.B, status string) int {
	b.Helper()
	_, after, ok := strings.Cut(status, "VmHWM:")
	require.True(b, ok)
	var kib int
	_, err := fmt.Sscan(after, &kib)
	require.NoError(b, err)
	return kib
}

// agentFile writes and reads a file by the agent's commands, in the chunks that
// guest.Manager uses with qemu-guest-agent, and returns how long each took.
func agentFile(b *testing.B, agent *qmp.Agent) (write, read time.Duration) {
	b.Helper()
	const chunk = 192 << 10
	data := base64.StdEncoding.EncodeToString(make([]byte, chunk))
	handle := agentOpen(b, agent, "w")
	begun := time.Now()
	for n := 0; n < fileSize; n += chunk {
		_, err := agent.Execute(b.Context(), "guest-file-write", map[string]any{"handle": handle, "buf-b64": data})
		require.NoError(b, err)
	}
	write = time.Since(begun)
	agentClose(b, agent, handle)
	handle = agentOpen(b, agent, "r")
	begun = time.Now()
	for n := 0; n < fileSize; n += chunk {
		_, err := agent.Execute(b.Context(), "guest-file-read", map[string]any{"handle": handle, "count": chunk})
		require.NoError(b, err)
	}
	read = time.Since(begun)
	agentClose(b, agent, handle)
	return write, read
}

func agentOpen(b *testing.B, agent *qmp.Agent, mode string) int64 {
	b.Helper()
	raw, err := agent.Execute(context.Background(), "guest-file-open", map[string]any{"path": "/mnt/file", "mode": mode})
	require.NoError(b, err)
	var handle int64
	require.NoError(b, json.Unmarshal(raw, &handle))
	return handle
}

func agentClose(b *testing.B, agent *qmp.Agent, handle int64) {
	b.Helper()
	_, err := agent.Execute(context.Background(), "guest-file-close", map[string]any{"handle": handle})
	require.NoError(b, err)
}
