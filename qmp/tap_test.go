package qmp

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTapOrder: a request is shown before its reply, on sockets and on a pipe, where every
// write waits for the reader.
func TestTapOrder(t *testing.T) {
	for name, ends := range map[string]func() (net.Conn, net.Conn){
		"socket": func() (net.Conn, net.Conn) { a, b := pair(t); return a, b.conn },
		"pipe":   net.Pipe,
	} {
		t.Run(name, func(t *testing.T) {
			near, far := ends()
			background(t, func() { answerAll(far) })
			c := NewClient()
			t.Cleanup(func() { require.NoError(t, c.Close()) })
			require.NoError(t, c.Connect(t.Context(), near))
			var seen []string
			stop := c.Tap(func(f Frame) { seen = append(seen, fmt.Sprint(f.Sent)) })
			other := c.Tap(func(Frame) {})
			for range 50 {
				_, err := c.Execute(t.Context(), "query-status", nil)
				require.NoError(t, err)
			}
			stop()
			other()
			_, err := c.Execute(t.Context(), "query-status", nil)
			require.NoError(t, err)
			require.Len(t, seen, 100)
			for i, sent := range seen {
				require.Equal(t, fmt.Sprint(i%2 == 0), sent, i)
			}
		})
	}
}

// TestTapOnMonitor: a go-qemu Monitor has no frames, so they are made.
func TestTapOnMonitor(t *testing.T) {
	inner, server := connected(t)
	background(t, func() {
		server.serve(func(request string) string {
			if request == `{"execute":"fails"}`+"\n" {
				return `{"error": {"class": "GenericError", "desc": "no"}}`
			}
			return stopEvent + "\r\n" + `{"return": 1}`
		})
	})
	c, err := FromMonitor(AsMonitor(inner))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	frames := make(chan string, 10)
	c.(Tapper).Tap(func(f Frame) { frames <- fmt.Sprint(f.Sent, " ", strings.TrimSpace(string(f.Data))) })
	_, err = c.Execute(t.Context(), "x", nil)
	require.NoError(t, err)
	seen := []string{soon(t, frames), soon(t, frames), soon(t, frames)}
	require.Contains(t, seen, `true {"execute":"x"}`)
	require.Contains(t, seen, `false {"return":1}`)
	require.Contains(t, seen, `false {"timestamp":{"seconds":1700000000,"microseconds":500000},"event":"STOP"}`)
	_, err = c.Execute(t.Context(), "fails", nil)
	require.Error(t, err)
	require.Equal(t, `true {"execute":"fails"}`, soon(t, frames))
	require.Contains(t, soon(t, frames), "no")
}
