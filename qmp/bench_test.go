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
// of a line and read of a line, this client, and go-qemu's SocketMonitor, all against
// the same server, in turns. x-raw is the ratio of the medians; x-raw-goqemu is
// go-qemu's.
//
//	go test ./qmp -run=- -bench=QueryStatus -benchtime=20000x
func BenchmarkQueryStatus(b *testing.B) {
	path := statusServer(b)
	raw, err := net.Dial("unix", path)
	require.NoError(b, err)
	defer raw.Close()
	rawIn := bufio.NewReader(raw)
	rawTrip := func() error {
		if _, err := io.WriteString(raw, statusRequest); err != nil {
			return err
		}
		_, err := rawIn.ReadSlice('\n')
		return err
	}
	_, err = rawIn.ReadSlice('\n') // the greeting
	require.NoError(b, err)

	client, err := Dial(b.Context(), "unix", path)
	require.NoError(b, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()

	monitor, err := goqemu.NewSocketMonitor("unix", path, time.Second)
	require.NoError(b, err)
	require.NoError(b, monitor.Connect())
	defer monitor.Disconnect()
	line := []byte(statusRequest)

	trips := []func() error{
		rawTrip,
		func() error { _, err := client.Execute(ctx, "query-status", nil); return err },
		func() error { _, err := monitor.Run(line); return err },
	}
	medians := race(b, trips)
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

// BenchmarkRealQEMU is the round trip to a real QEMU.
func BenchmarkRealQEMU(b *testing.B) {
	_, client := startQEMU(b)
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
	buf := make([]byte, 4096)
	reply := []byte(statusReply)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}
