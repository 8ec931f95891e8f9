package guest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// server listens on a port of this host, which stands for the guest.
func server(t *testing.T, serve func(conn *net.TCPConn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				serve(conn.(*net.TCPConn))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		wg.Wait()
	})
	return l.Addr().String()
}

func echo(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

func TestDialCarriesBothDirections(t *testing.T) {
	m := withInit(t, newFakeVM(t)).manager(t)
	address := server(t, echo)
	var calls errgroup.Group
	for i := range 10 {
		calls.Go(func() error {
			conn, err := m.Dial(t.Context(), "box", "tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			sent := strings.Repeat(fmt.Sprint(i), 1<<20)
			go func() {
				_, _ = io.WriteString(conn, sent)
				_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err == nil && string(got) != sent {
				err = fmt.Errorf("connection %d: %d bytes came back", i, len(got))
			}
			return err
		})
	}
	require.NoError(t, calls.Wait())
}

func TestDialServesAnHTTPTransport(t *testing.T) {
	m := withInit(t, newFakeVM(t)).manager(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		<-served
	})
	port := l.Addr().(*net.TCPAddr).Port
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return m.Dial(ctx, "box", network, address)
	}}
	for range 3 { // by one connection
		res, err := (&http.Client{Transport: transport}).Get(fmt.Sprintf("http://box:%d/ok", port))
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, fmt.Sprintf("box:%d", port), string(body))
	}
	transport.CloseIdleConnections()
	require.NoError(t, m.Wait(soon(t), "box", guest.HTTPOK(port, "/ok")))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = m.Wait(ctx, "box", guest.HTTPOK(port, "/moved"))
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
	require.ErrorContains(t, err, "302")
	for _, wrong := range []guest.Condition{guest.HTTPOK(0, "/"), guest.HTTPOK(80, "ok")} {
		require.ErrorIs(t, m.Wait(soon(t), "box", wrong), errors.ErrInvalidConfiguration)
	}
}

func TestDialFails(t *testing.T) {
	m := withInit(t, newFakeVM(t)).manager(t)
	gone := server(t, echo)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := l.Addr().String()
	require.NoError(t, l.Close())
	_, err = m.Dial(soon(t), "box", "tcp", nobody)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, "box")
	for _, wrong := range [][2]string{{"udp", gone}, {"tcp", "1"}, {"tcp", ":0"}, {"tcp", ":65536"}, {"tcp", ":http"}, {"tcp", "elsewhere:1"}, {"tcp", "[fe80::1%eth0]:1"}} {
		_, err := m.Dial(soon(t), "box", wrong[0], wrong[1])
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration, "%v", wrong)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = m.Dial(ctx, "box", "tcp", gone)
	require.ErrorIs(t, err, context.Canceled)
}

func TestDialDeadlinesAndEnds(t *testing.T) {
	v := withInit(t, newFakeVM(t))
	m := v.manager(t)
	dial := func(t *testing.T, address string) net.Conn {
		ctx, cancel := context.WithCancel(t.Context())
		conn, err := m.Dial(ctx, "box", "tcp", address)
		cancel() // of no more meaning
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	t.Run("deadline", func(t *testing.T) {
		conn := dial(t, server(t, echo))
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, conn.SetReadDeadline(time.Time{}))
		_, err = io.WriteString(conn, "x")
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 1))
		require.NoError(t, err)
	})
	t.Run("the other side ends it", func(t *testing.T) {
		conn := dial(t, server(t, func(conn *net.TCPConn) { _, _ = io.WriteString(conn, "bye") }))
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "bye", string(got))
	})
	t.Run("this side ends it", func(t *testing.T) {
		got := make(chan string, 1)
		conn := dial(t, server(t, func(conn *net.TCPConn) {
			data, _ := io.ReadAll(conn)
			got <- string(data)
		}))
		_, err := io.WriteString(conn, "all of it")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		select {
		case data := <-got:
			require.Equal(t, "all of it", data)
		case <-time.After(20 * time.Second):
			t.Fatal("the other side never saw the end")
		}
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
	})
	t.Run("nobody reads", func(t *testing.T) {
		held := make(chan struct{})
		conn := dial(t, server(t, func(*net.TCPConn) { <-held }))
		defer close(held)
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		_, err := conn.Write(make([]byte, 64<<20))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, m.Ping(soon(t), "box"), "others are not held up")
	})
	t.Run("the session is lost", func(t *testing.T) {
		conn := dial(t, server(t, echo))
		require.NoError(t, m.Close())
		_, err := io.ReadAll(conn)
		require.Error(t, err, "not an end like any other")
		_, err = m.Dial(soon(t), "box", "tcp", ":1")
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	})
}

func TestDialWithoutAWay(t *testing.T) {
	v := withAgent(t, newFakeVM(t))
	m := v.manager(t)
	_, err := m.Dial(soon(t), "box", "tcp", ":80")
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	require.ErrorContains(t, err, "type user")
}

func TestInterfacesOfTheAgent(t *testing.T) {
	m := withAgent(t, newFakeVM(t)).manager(t)
	list, err := m.Interfaces(soon(t), "box")
	require.NoError(t, err)
	var found bool
	for _, i := range list {
		if i.Name == "lo" {
			found = true
			require.True(t, i.Loopback())
			require.Equal(t, "127.0.0.1", i.IPv4().String())
		}
	}
	require.True(t, found, "%+v", list)
}
