package benchmarks

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp"
)

// monitors starts a QEMU without a machine and returns the sockets of n monitors.
func monitors(b *testing.B, n int) (paths []string) {
	b.Helper()
	dir, err := os.MkdirTemp("", "qmp-")
	require.NoError(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := exec.Command(cmp.Or(os.Getenv("MAQET_QEMU"), "qemu-system-x86_64"), "-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S")
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i))
		l, err := net.Listen("unix", path)
		require.NoError(b, err)
		file, err := l.(*net.UnixListener).File()
		require.NoError(b, err)
		defer file.Close()
		b.Cleanup(func() { _ = l.Close() })
		paths = append(paths, path)
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		cmd.Args = append(cmd.Args, "-chardev", fmt.Sprintf("socket,id=m%d,fd=%d,server=on,wait=off", i, 3+i),
			"-mon", fmt.Sprintf("chardev=m%d,mode=control", i))
	}
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return paths
}

// rawMonitor is a monitor that is used without any library: a line is written, a line
// is read.
type rawMonitor struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialRaw(b *testing.B, path string) *rawMonitor {
	b.Helper()
	conn, err := net.Dial("unix", path)
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	m := &rawMonitor{conn, bufio.NewReaderSize(conn, 1<<20)}
	_, err = m.in.ReadSlice('\n')
	require.NoError(b, err)
	_, err = m.trip(`{"execute":"qmp_capabilities"}` + "\n")
	require.NoError(b, err)
	return m
}

func (m *rawMonitor) trip(request string) ([]byte, error) {
	if _, err := io.WriteString(m.conn, request); err != nil {
		return nil, err
	}
	return m.in.ReadSlice('\n')
}

func dialClient(b *testing.B, path string, opts ...qmp.ClientOption) *qmp.Client {
	b.Helper()
	c, err := qmp.Dial(b.Context(), "unix", path, opts...)
	require.NoError(b, err)
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func dialGoQEMU(b *testing.B, path string) *goqemu.SocketMonitor {
	b.Helper()
	m, err := goqemu.NewSocketMonitor("unix", path, 10*time.Second)
	require.NoError(b, err)
	require.NoError(b, m.Connect())
	b.Cleanup(func() { _ = m.Disconnect() })
	return m
}

const statusLine = `{"execute":"query-status"}`

// BenchmarkQMPRoundTrip compares one query-status at a time, in turns on three monitors of
// one QEMU: a line written and a line read without a library, maqet's client, and
// go-qemu's SocketMonitor. The medians are of 1,000 trips a run.
func BenchmarkQMPRoundTrip(b *testing.B) {
	paths := monitors(b, 3)
	raw, client, peer := dialRaw(b, paths[0]), dialClient(b, paths[1]), dialGoQEMU(b, paths[2])
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	ours := func() error { _, err := client.Execute(ctx, "query-status", nil); return err }
	theirs := func() error { _, err := peer.Run([]byte(statusLine)); return err }
	trips := []func() error{
		func() error { _, err := raw.trip(statusLine + "\n"); return err },
		ours, theirs,
	}
	took := make([][]time.Duration, len(trips))
	for range runs(b) * 1000 {
		for i, trip := range trips {
			begun := time.Now()
			require.NoError(b, trip())
			took[i] = append(took[i], time.Since(begun))
		}
	}
	floor := ms(median(took[0]))
	b.ReportMetric(floor*1000, "raw-us")
	b.ReportMetric(ms(median(took[1]))*1000, "maqet-us")
	b.ReportMetric(ms(median(took[2]))*1000, "goqemu-us")
	b.ReportMetric(ms(median(took[1]))/floor, "ratio-raw")
	b.ReportMetric(ms(median(took[1]))/ms(median(took[2])), "ratio-goqemu")
	b.ReportMetric(testing.AllocsPerRun(1000, func() { _ = ours() }), "maqet-allocs")
	b.ReportMetric(testing.AllocsPerRun(1000, func() { _ = theirs() }), "goqemu-allocs")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkQMPThroughput has 64 goroutines that execute query-status on one connection:
// to QEMU, which reads its monitor byte by byte and so takes most of the time itself,
// and to a peer that answers each line at once. limit-ms is how long QEMU takes for as many
// requests when they are written without a pause, and its replies only counted.
func BenchmarkQMPThroughput(b *testing.B) {
	b.Run("qemu", func(b *testing.B) {
		paths := monitors(b, 3)
		throughput(b, 50, paths[0], paths[1])
		limit := dialRaw(b, paths[2]).flood(b, goroutines*50)
		b.ReportMetric(ms(limit), "limit-ms")
	})
	b.Run("fake", func(b *testing.B) {
		path := lineServer(b)
		throughput(b, 300, path, path)
	})
}

const goroutines = 64

// flood writes n requests as fast as QEMU takes them, and returns how long it was until it
// had answered all; the median of several times.
func (m *rawMonitor) flood(b *testing.B, n int) time.Duration {
	b.Helper()
	var took []time.Duration
	requests := []byte(strings.Repeat(statusLine+"\n", n))
	for range runs(b) {
		begun := time.Now()
		go m.conn.Write(requests)
		for range n {
			_, err := m.in.ReadSlice('\n')
			require.NoError(b, err)
		}
		took = append(took, time.Since(begun))
	}
	return median(took)
}

func throughput(b *testing.B, each int, ours, theirs string) {
	client, peer := dialClient(b, ours), dialGoQEMU(b, theirs)
	all := func(trip func() error) func(b *testing.B) time.Duration {
		return func(b *testing.B) time.Duration {
			begun := time.Now()
			var work sync.WaitGroup
			for range goroutines {
				work.Go(func() {
					for range each {
						if err := trip(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			work.Wait()
			return time.Since(begun)
		}
	}
	compare(b,
		side{"maqet", all(func() error { _, err := client.Execute(b.Context(), "query-status", nil); return err })},
		side{"goqemu", all(func() error { _, err := peer.Run([]byte(statusLine + "\n")); return err })})
}

// lineServer is a peer that answers every line with a status, after a handshake.
func lineServer(b *testing.B) (path string) {
	b.Helper()
	dir, err := os.MkdirTemp("", "line-")
	require.NoError(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "qmp")
	l, err := net.Listen("unix", path)
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerLines(conn)
		}
	}()
	return path
}

func answerLines(conn net.Conn) {
	defer conn.Close()
	reply := func(text string) error { _, err := io.WriteString(conn, text+"\r\n"); return err }
	err := reply(`{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}`)
	in, answer := bufio.NewReader(conn), `{"return": {}}`
	for err == nil {
		if _, err = in.ReadSlice('\n'); err == nil {
			err = reply(answer)
		}
		answer = `{"return": {"status": "running", "singlestep": false, "running": true}}`
	}
}

// BenchmarkQMPSchema compares query-qmp-schema, decoded, with the same by hand. go-qemu
// can't take part: its monitor ends at lines of 64 KiB.
func BenchmarkQMPSchema(b *testing.B) {
	paths := monitors(b, 2)
	raw, client := dialRaw(b, paths[0]), dialClient(b, paths[1])
	type info struct {
		Name     string `json:"name"`
		MetaType string `json:"meta-type"`
	}
	timed := func(fn func() ([]info, error)) func(b *testing.B) time.Duration {
		return func(b *testing.B) time.Duration {
			begun := time.Now()
			infos, err := fn()
			took := time.Since(begun)
			require.NoError(b, err)
			require.Greater(b, len(infos), 500)
			return took
		}
	}
	compare(b,
		side{"maqet", timed(func() ([]info, error) { return qmp.Do[[]info](b.Context(), client, "query-qmp-schema", nil) })},
		side{"raw", timed(func() ([]info, error) {
			line, err := raw.trip(`{"execute":"query-qmp-schema"}` + "\n")
			if err != nil {
				return nil, err
			}
			var answer struct{ Return []info }
			return answer.Return, json.Unmarshal(line, &answer)
		})})
}
