package libvirtrpc

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/wire"
)

// BenchmarkStream moves data into and out of a guest over a stream, and over the socket of another
// port of the same guest, in turns. The metric ratio is the socket's time by the stream's: 1 means
// that the stream costs nothing.
//
//	go test -run '^$' -bench Stream -benchtime 5x ./internal/libvirtrpc
func BenchmarkStream(b *testing.B) {
	d := daemon.Get(b)
	socket := filepath.Join(b.TempDir(), "direct")
	dom, console := startGuest(b, d, "bench", `<channel type='unix'><source mode='bind' path='`+socket+`'/>
		<target type='virtio' name='org.maqet.stream.1'/></channel>`)
	readUntil(b, console, "maqet-init: ready")
	stream, err := OpenChannel(b.Context(), dial(b, d), string(d.Driver()), dom, stream0, 0)
	require.NoError(b, err)
	direct, err := net.Dial("unix", socket)
	require.NoError(b, err)
	var sessions []*wire.Session
	for _, conn := range []net.Conn{stream, direct} {
		s, err := wire.Connect(b.Context(), conn)
		require.NoError(b, err)
		defer s.Close()
		sessions = append(sessions, s)
	}
	const size = 32 << 20
	for name, request := range map[string]func() wire.ExecRequest{
		"out": func() wire.ExecRequest {
			return wire.ExecRequest{Args: []string{"head", "-c", "32M", "/dev/zero"}, Stdout: io.Discard}
		},
		"in": func() wire.ExecRequest {
			return wire.ExecRequest{Args: []string{"sh", "-c", "cat > /dev/null"}, Stdin: io.LimitReader(zeros{}, size)}
		},
	} {
		b.Run(name, func(b *testing.B) {
			var took [2]time.Duration
			for b.Loop() {
				for i, s := range sessions {
					start := time.Now()
					_, err := s.Exec(b.Context(), request())
					require.NoError(b, err)
					took[i] += time.Since(start)
				}
			}
			b.ReportMetric(float64(size)*float64(b.N)/took[0].Seconds()/(1<<20), "stream-MiB/s")
			b.ReportMetric(float64(size)*float64(b.N)/took[1].Seconds()/(1<<20), "socket-MiB/s")
			b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "ratio")
		})
	}
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
