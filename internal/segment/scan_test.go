//go:build linux

package segment

import (
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestScanAfterLostEvents: a card that was replaced by one of the same name while events
// were lost is reached.
func TestScanAfterLostEvents(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "segment") // t.TempDir's paths may be too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	plug := func(name string) *net.UnixConn {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: PortPath(dir, name), Net: "unixgram"})
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	first := plug("a")
	plug("b")
	s, err := open(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close()) })
	require.NoError(t, first.Close())
	require.NoError(t, os.Remove(PortPath(dir, "a")))
	second := plug("a")
	require.NoError(t, s.scan())
	frame := []byte("\xff\xff\xff\xff\xff\xff\x52\x54\x00\x00\x00\x01\x88\xb5hello")
	s.pass("b"+portSuffix, frame)
	require.NoError(t, second.SetReadDeadline(time.Now().Add(5*time.Second)))
	got := make([]byte, 64)
	n, err := second.Read(got)
	require.NoError(t, err)
	require.Equal(t, frame, got[:n])
}
