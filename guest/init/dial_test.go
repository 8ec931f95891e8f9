package main

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
)

// unixPair is a connection's end on the host's side, and the one for the session.
func unixPair(t *testing.T) (program, local *net.UnixConn) {
	t.Helper()
	a, b := socketPair(t)
	return a.(*net.UnixConn), b.(*net.UnixConn)
}

// listen accepts one connection on this machine.
func listen(t *testing.T, network, address string, serve func(conn *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		testhost.Lacks(t, network, "is not possible here:", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := l.Accept(); err == nil {
			serve(conn.(*net.TCPConn))
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestDial(t *testing.T) {
	s := connect(t)
	for _, network := range [][2]string{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}} {
		t.Run(network[0], func(t *testing.T) {
			address := listen(t, network[0], network[1], func(conn *net.TCPConn) { io.Copy(conn, conn) })
			program, local := unixPair(t)
			connected, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- s.Dial(t.Context(), address, local, func() { close(connected) }) }()
			<-connected
			sent := strings.Repeat("0123456789", 200_000)
			go func() {
				io.WriteString(program, sent)
				program.CloseWrite()
			}()
			got, err := io.ReadAll(program)
			require.NoError(t, err)
			require.True(t, string(got) == sent, "%d bytes came back", len(got))
			require.NoError(t, <-ended)
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		_, local := unixPair(t)
		for address, want := range map[string]error{"127.0.0.1:1": syscall.ECONNREFUSED, "nonsense": syscall.EINVAL} {
			err := s.Dial(within(t, 30*time.Second), address, local, func() { t.Error("connected to " + address) })
			require.ErrorIs(t, err, want)
		}
	})
	t.Run("reset", func(t *testing.T) {
		address := listen(t, "tcp4", "127.0.0.1:0", func(conn *net.TCPConn) { conn.SetLinger(0) })
		_, local := unixPair(t)
		err := s.Dial(within(t, 30*time.Second), address, local, func() {})
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
	t.Run("cancelled", func(t *testing.T) {
		closed := make(chan struct{})
		address := listen(t, "tcp4", "127.0.0.1:0", func(conn *net.TCPConn) {
			io.Copy(io.Discard, conn)
			close(closed)
		})
		ctx, cancel := context.WithCancel(t.Context())
		_, local := unixPair(t)
		err := s.Dial(ctx, address, local, cancel)
		require.ErrorIs(t, err, context.Canceled)
		select {
		case <-closed:
		case <-time.After(30 * time.Second):
			t.Fatal("the connection stays")
		}
	})
}

func TestInterfacesOfThisMachine(t *testing.T) {
	if _, err := os.Stat("/sys/class/net/lo"); err != nil {
		testhost.Lacks(t, err)
	}
	got, err := newAgent(testReaper, nil).interfaces(empty{})
	require.NoError(t, err)
	for _, i := range got.([]netInterface) {
		if i.Name == "lo" {
			require.Contains(t, i.Addresses, netAddress{Type: "ipv4", IP: "127.0.0.1", Prefix: 8})
		}
	}
}
