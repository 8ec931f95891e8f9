package libvirtrpc

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/wire"
)

// A guest prints and is typed into by its console, and works over a channel.
func TestStreamsOfAGuest(t *testing.T) {
	d := daemon.Get(t)
	dom, console := startGuest(t, d, "streams", "")
	require.NoError(t, console.SetReadDeadline(time.Now().Add(2*time.Minute)))
	text := readUntil(t, console, "maqet-init: ready")
	require.NotContains(t, text, "\x00")

	channel, err := OpenChannel(t.Context(), dial(t, d), string(d.Driver()), dom, stream0, 0)
	require.NoError(t, err)
	session, err := wire.Connect(t.Context(), channel)
	require.NoError(t, err)
	result, err := session.Exec(t.Context(), wire.ExecRequest{Args: []string{"uname", "-s"}})
	require.NoError(t, err)
	require.Zero(t, result.ExitCode)

	_, err = OpenChannel(t.Context(), dial(t, d), string(d.Driver()), dom, stream0, 0)
	require.True(t, refused(err, libvirt.ErrOperationFailed), "%v", err)
	require.NoError(t, session.Close())
	channel, err = OpenChannel(t.Context(), dial(t, d), string(d.Driver()), dom, stream0, 0)
	require.NoError(t, err, "closed, it is free at once")

	require.NoError(t, d.Connect(t).DomainDestroy(dom))
	_, err = io.Copy(io.Discard, console)
	require.NoError(t, err, "the end of the guest is that of its console")
	if _, err = io.Copy(io.Discard, channel); err != nil { // QEMU had not read all that was sent
		require.True(t, refused(err, libvirt.ErrSystemError), "%v", err)
	}
	require.NoError(t, channel.Close())
}

func TestStreamDeadlines(t *testing.T) {
	d := daemon.Get(t)
	dom := startPaused(t, d, "deadlines", "", "")
	s, err := OpenChannel(t.Context(), dial(t, d), string(d.Driver()), dom, "test.idle", 0)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	// Nobody reads: what the sockets and libvirtd hold is bounded.
	require.NoError(t, s.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
	n, err := s.Write(make([]byte, 64<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, n, 16<<20)
	start := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(start), 30*time.Second)
}
