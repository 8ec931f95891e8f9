package qmp

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Who is told that the connection is lost finds the client saying so, too, even if it
// asks in the moment at which that happens.
func TestNobodyLearnsOfTheEndBeforeTheClient(t *testing.T) {
	c, server := connected(t)
	s := c.sess
	c.mu.Lock() // holds up what the reader tells the client
	require.NoError(t, server.conn.Close())
	for s.lost() == nil {
		runtime.Gosched()
	}
	got := make(chan error, 2)
	go func() {
		_, err := s.do(t.Context(), request{command: "query-status"}, nil)
		got <- err
		got <- c.Err()
	}()
	select {
	case err := <-got:
		c.mu.Unlock()
		require.FailNow(t, "told too early", err)
	case <-time.After(20 * time.Millisecond):
	}
	c.mu.Unlock()
	err := soon(t, got)
	require.Error(t, err)
	require.Equal(t, err, soon(t, got), "the sticky error")
}
