package qmp

import (
	"fmt"
	"net"
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
