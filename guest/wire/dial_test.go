package wire

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDial(t *testing.T) {
	s := session(t, &fakeOps{})
	dial := func(ctx context.Context, address string) (program *net.UnixConn, connected chan struct{}, ended chan error) {
		a, b := socketPair(t)
		t.Cleanup(func() { require.NoError(t, a.Close()); require.NoError(t, b.Close()) })
		connected, ended = make(chan struct{}), make(chan error, 1)
		go func() { ended <- s.Dial(ctx, address, b.(*net.UnixConn), func() { close(connected) }) }()
		return a.(*net.UnixConn), connected, ended
	}
	t.Run("both directions", func(t *testing.T) {
		program, connected, ended := dial(t.Context(), "127.0.0.1:80")
		<-connected
		_, err := io.WriteString(program, "hello")
		require.NoError(t, err)
		require.NoError(t, program.CloseWrite())
		got, err := io.ReadAll(program)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
		require.NoError(t, <-ended)
	})
	t.Run("refused", func(t *testing.T) {
		_, connected, ended := dial(t.Context(), "127.0.0.1:1")
		require.ErrorIs(t, <-ended, syscall.ECONNREFUSED)
		select {
		case <-connected:
			t.Fatal("it is not connected")
		default:
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, _, ended := dial(ctx, "192.0.2.1:1")
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	})
}
