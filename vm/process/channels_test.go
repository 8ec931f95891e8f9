package process

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/vm"
)

type dialed struct {
	conn net.Conn
	err  error
}

// dialLater dials from another goroutine.
func dialLater(ctx context.Context, g vm.Guest, channel string) <-chan dialed {
	result := make(chan dialed, 1)
	go func() {
		conn, err := g.Dial(ctx, channel, true)
		result <- dialed{conn, err}
	}()
	return result
}

func TestDialTakesTurns(t *testing.T) {
	h := newHouse(t)
	g, _ := h.running(vm.Config{})
	first, err := g.Dial(t.Context(), vm.ChannelConsole, false)
	require.NoError(t, err)
	promptly(t, func() {
		_, err := g.Dial(t.Context(), vm.ChannelConsole, false)
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	})
	waiting := dialLater(patient(t), g, vm.ChannelConsole)
	select {
	case <-waiting:
		t.Fatal("two clients at once")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, first.Close())
	require.NoError(t, first.Close())
	second := <-waiting
	require.NoError(t, second.err)
	require.Implements(t, (*interface{ CloseWrite() error })(nil), second.conn)
	require.NoError(t, second.conn.(interface{ CloseWrite() error }).CloseWrite())
	_, err = second.conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, second.conn.Close())
	_, err = g.Dial(t.Context(), "no-such", false)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
}

// TestDialEnds: a wait ends with its context, with the guest and with its release.
func TestDialEnds(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		end  func(g *guest, cancel func())
		kind error
	}{
		"context": {func(_ *guest, cancel func()) { cancel() }, context.Canceled},
		"guest":   {func(g *guest, _ func()) { _ = g.proc.signal(9) }, errEnded},
		"release": {func(g *guest, _ func()) { _ = g.Release() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			g, spec := (&house{t: t, b: h.b, dir: h.dir}).running(vm.Config{})
			other, err := h.b.Attach(t.Context(), record(spec, g))
			require.NoError(t, err)
			held, err := other.Dial(t.Context(), vm.ChannelAgent, false)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			waiting := dialLater(ctx, g, vm.ChannelAgent)
			time.Sleep(20 * time.Millisecond) // lets it begin to wait in most runs
			begun := time.Now()
			c.end(g, cancel)
			got := <-waiting
			require.ErrorIs(t, got.err, c.kind)
			require.ErrorIs(t, got.err, errors.ErrAgentUnavailable)
			require.Less(t, time.Since(begun), 2*time.Second)
			require.NoError(t, held.Close())
			require.NoError(t, other.Release())
		})
	}
}

func TestReleaseClosesConnections(t *testing.T) {
	h := newHouse(t)
	g, _ := h.running(vm.Config{})
	conn, err := g.Dial(t.Context(), vm.ChannelConsole, false)
	require.NoError(t, err)
	require.NoError(t, g.Release())
	_, err = conn.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = g.Dial(t.Context(), vm.ChannelConsole, false)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = g.QMP().Execute(t.Context(), "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.Error(t, g.Connect(t.Context()))
	for _, socket := range g.runtime.Sockets {
		held, err := flock.Held(lockPath(socket))
		require.NoError(t, err)
		require.False(t, held, socket)
	}
}

// TestLostMonitorIsFree: when the connection dies and QEMU lives, its monitor can be
// used again.
func TestLostMonitorIsFree(t *testing.T) {
	h := newHouse(t)
	g, _ := h.running(vm.Config{})
	for range 2 * monitors {
		g.mu.Lock()
		for c := range g.conns {
			require.NoError(t, c.CloseRead()) // QEMU seems to be gone
		}
		g.mu.Unlock()
		<-g.QMP().Done()
		require.NoError(t, g.Connect(patient(t)))
	}
	ask[any](t, g, "query-status", nil)
}

// TestConsoleIsLogged: what the guest prints is in the file, and to whoever is
// connected.
func TestConsoleIsLogged(t *testing.T) {
	h := newHouse(t)
	g, _ := h.running(vm.Config{Args: []string{"-fw_cfg", "name=etc/sercon-port,string=\xf8\x03"}})
	conn, err := g.Dial(t.Context(), vm.ChannelConsole, false)
	require.NoError(t, err)
	require.NoError(t, g.Continue(t.Context()))
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	var seen []byte
	for !bytes.Contains(seen, []byte("SeaBIOS")) {
		buf := make([]byte, 512)
		n, err := conn.Read(buf)
		require.NoError(t, err, "%q", seen)
		seen = append(seen, buf[:n]...)
	}
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(g.runtime.Console)
		return err == nil && bytes.Contains(data, []byte("SeaBIOS"))
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, conn.Close())
}
