package qmp

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"
)

const (
	statusRequest = `{"execute":"query-status"}` + "\n"
	statusReply   = `{"return": {"status": "running", "singlestep": false, "running": true}}` + "\r\n"
)

// BenchmarkQueryStatus compares one round trip at a time over a unix socket: a raw write
// of a line and read of a line, this client, and go-qemu's SocketMonitor, in turns, each
// on a monitor of its own of the same peer. x-raw is the ratio of the client's median to
// the raw one, x-raw-goqemu that of go-qemu's.
//
//	go test ./qmp -run=- -bench=QueryStatus -benchtime=10000x
func BenchmarkQueryStatus(b *testing.B) {
	b.Run("qemu", func(b *testing.B) { compare(b, qemuMonitors(b, 3)) })
	b.Run("fake", func(b *testing.B) {
		path := statusServer(b) // answers at once: what is left is the clients' own cost
		compare(b, []string{path, path, path})
	})
}

func compare(b *testing.B, paths []string) {
	raw, err := net.Dial("unix", paths[0])
	require.NoError(b, err)
	defer raw.Close()
	in := bufio.NewReader(raw)
	trip := func(request string) error {
		if _, err := io.WriteString(raw, request); err != nil {
			return err
		}
		_, err := in.ReadSlice('\n')
		return err
	}
	require.NoError(b, trip(`{"execute":"qmp_capabilities"}`+"\n"))
	_, err = in.ReadSlice('\n') // that was the greeting
	require.NoError(b, err)

	client, err := Dial(b.Context(), "unix", paths[1])
	require.NoError(b, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()

	monitor, err := goqemu.NewSocketMonitor("unix", paths[2], time.Second)
	require.NoError(b, err)
	require.NoError(b, monitor.Connect())
	defer monitor.Disconnect()
	line := []byte(statusRequest)

	medians := race(b, []func() error{
		func() error { return trip(statusRequest) },
		func() error { _, err := client.Execute(ctx, "query-status", nil); return err },
		func() error { _, err := monitor.Run(line); return err },
	})
	b.ReportMetric(0, "ns/op") // of all three together: says nothing
	b.ReportMetric(float64(medians[0]), "raw-ns")
	b.ReportMetric(float64(medians[1]), "client-ns")
	b.ReportMetric(float64(medians[1])/float64(medians[0]), "x-raw")
	b.ReportMetric(float64(medians[2])/float64(medians[0]), "x-raw-goqemu")
}

// race runs the trips in turns, b.N times, and returns the median of each.
func race(b *testing.B, trips []func() error) []time.Duration {
	took := make([][]time.Duration, len(trips))
	for b.Loop() {
		for i, trip := range trips {
			start := time.Now()
			if err := trip(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	medians := make([]time.Duration, len(trips))
	for i := range took {
		slices.Sort(took[i])
		medians[i] = took[i][len(took[i])/2]
	}
	return medians
}

// BenchmarkExecute has the time and the allocations of one command, the server's
// included.
func BenchmarkExecute(b *testing.B) {
	client, err := Dial(b.Context(), "unix", statusServer(b))
	require.NoError(b, err)
	defer client.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Execute(b.Context(), "query-status", nil); err != nil {
			b.Fatal(err)
		}
	}
}

// statusServer answers every line with a status, after a handshake.
func statusServer(tb testing.TB) (path string) {
	path = socketPath(tb, "qmp")
	l, err := net.Listen("unix", path)
	require.NoError(tb, err)
	background(tb, func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			background(tb, func() { answerAll(conn) })
		}
	})
	tb.Cleanup(func() { _ = l.Close() })
	return path
}

func answerAll(conn net.Conn) {
	defer conn.Close()
	_, _ = io.WriteString(conn, plainHello+"\r\n")
	buf, status := make([]byte, 4096), []byte(statusReply)
	reply := []byte(`{"return": {}}` + "\r\n")
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
		reply = status
	}
}
