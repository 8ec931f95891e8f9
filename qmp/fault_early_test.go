package qmp

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// The peer replies to a command of which it has read nothing, and the command is given
// up: it returns, and so do those after it.
func TestReplyToACommandThatIsNotWritten(t *testing.T) {
	conn, peer := net.Pipe() // without a buffer: a write waits for its reader
	defer peer.Close()
	send := func(text string) {
		_, err := io.WriteString(peer, text+"\r\n")
		require.NoError(t, err)
	}
	c := NewClient()
	defer c.Close()
	hello := make(chan error, 1)
	go func() { hello <- c.Connect(within(t, 10*time.Second), conn) }()
	send(plainHello)
	_, err := bufio.NewReader(peer).ReadString('\n')
	require.NoError(t, err)
	send(`{"return": {}}`)
	require.NoError(t, soon(t, hello))

	sub := c.Subscribe()
	ctx, cancel := context.WithCancel(t.Context())
	got := execute(ctx, c, "query-status", nil)
	for queued := false; !queued; { // its write is what waits then
		c.sess.mu.Lock()
		queued = len(c.sess.inBand) == 1
		c.sess.mu.Unlock()
	}
	send(`{"return": {}}`)
	send(stopEvent) // once this is delivered the reply was taken in
	soon(t, sub.C())
	cancel()
	if err := soon(t, got).err; err != nil { // the reply and the end are there at once
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
	}
	for range window + 1 { // every place is free again
		_, err := c.Execute(within(t, 5*time.Millisecond), "query-status", nil)
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
	}
	c.sess.mu.Lock()
	defer c.sess.mu.Unlock()
	require.Empty(t, c.sess.inBand)
	require.Empty(t, c.sess.waiting)
}
