package libvirt

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// connFrame is a message of a length.
func connFrame(size uint32) []byte {
	b := make([]byte, min(size, 1<<10))
	binary.BigEndian.PutUint32(b, size)
	return b
}

func TestFrames(t *testing.T) {
	stream := append(connFrame(28), connFrame(100)...)
	for split := range len(stream) {
		var f frames
		require.NoError(t, f.check(stream[:split]))
		require.NoError(t, f.check(stream[split:]))
		require.Equal(t, frames{head: f.head}, f, "whole messages leave nothing")
	}
	for size, ok := range map[uint32]bool{0: false, 27: false, 28: true, maxFrame: true, maxFrame + 1: false, 1<<32 - 1: false} {
		b := binary.BigEndian.AppendUint32(nil, size)
		var f frames
		if ok {
			require.NoError(t, f.check(b), size)
		} else {
			require.ErrorIs(t, f.check(b), errNotLibvirt, size)
		}
	}
}

// Whichever side ends it, the first reason stays, and reading returns none that go-libvirt
// would take for a passing one.
func TestWireEnds(t *testing.T) {
	client, server := net.Pipe()
	w := newWire(client)
	close(w.opened)
	require.NoError(t, w.cause())
	require.NoError(t, server.Close())
	_, err := w.Read(make([]byte, 1))
	require.Equal(t, errLost, err)
	require.Equal(t, io.EOF, w.cause())
	_, err = w.Write([]byte("x"))
	require.Error(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	require.Equal(t, io.EOF, w.cause())
	<-w.lost
}
