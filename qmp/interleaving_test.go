package qmp

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noCopies fails when a duplicate of the pipe's end is still open somewhere.
func noCopies(t *testing.T, r, w *os.File) {
	t.Helper()
	require.NoError(t, w.Close())
	require.NoError(t, r.SetReadDeadline(time.Now().Add(time.Second)))
	_, err := r.Read(make([]byte, 1))
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "a duplicate is open")
}

func pipes(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// The files of a write that failed are closed.
func TestFilesOfFailedWrite(t *testing.T) {
	c, server := connected(t)
	r, w := pipes(t)
	require.NoError(t, server.conn.CloseRead()) // EPIPE
	_, err := c.ExecuteWithFiles(t.Context(), "getfd", nil, w)
	require.Error(t, err)
	require.NoError(t, c.Close())
	noCopies(t, r, w)
}

// So are those that are put back after the end.
func TestFilesPutBackAfterEnd(t *testing.T) {
	c, server := connected(t)
	r, w := pipes(t)
	s := c.sess
	files, err := passFiles(s.conn, true, []*os.File{w})
	require.NoError(t, err)
	cl := s.calls.Get().(*call)
	cl.request, cl.files = request{command: "getfd"}, files
	s.mu.Lock()
	s.waiting, s.writing = append(s.waiting, cl), true
	s.mu.Unlock()
	_, full, err := s.step(func([]byte, *passedFiles) (int, error) { // finds the socket full
		_ = server.conn.Close()
		<-s.done // meanwhile the reader sees the end
		return 0, nil
	})
	require.NoError(t, err)
	require.True(t, full)
	require.NoError(t, c.Close())
	noCopies(t, r, w)
}

// One call with too many files is refused, and does not end everybody's connection.
func TestTooManyFiles(t *testing.T) {
	c, server := connected(t)
	background(t, func() { server.serve(always(`{"return": {}}`)) })
	t.Cleanup(func() { _ = c.Close() })
	_, w := pipes(t)
	files := make([]*os.File, 254)
	for i := range files {
		files[i] = w
	}
	_, err := c.ExecuteWithFiles(within(t, time.Second), "getfd", nil, files...)
	require.Error(t, err)
	t.Log(err)
	require.NoError(t, c.Err())
}

// Execute: "A command whose context ended before it was written has no effect."
func TestCancelledInBatch(t *testing.T) {
	c, server := connected(t)
	long := map[string]string{"x": strings.Repeat("x", 2<<20)}
	ctx := within(t, 10*time.Second)
	a := execute(ctx, c, "a", long)
	waits := func(n int) {
		require.Eventually(t, func() bool {
			c.sess.mu.Lock()
			defer c.sess.mu.Unlock()
			return len(c.sess.inBand)+len(c.sess.waiting) == n
		}, 5*time.Second, time.Millisecond)
	}
	waits(1)
	b := execute(ctx, c, "b", long)
	waits(2)
	cancelled, cancel := context.WithCancel(ctx)
	last := execute(cancelled, c, "c", nil)
	waits(3)
	line, err := server.in.ReadString('\n') // a; now b is being written, and c is not
	require.NoError(t, err)
	require.Contains(t, line[:20], `"a"`)
	time.Sleep(50 * time.Millisecond)
	cancel()
	require.ErrorIs(t, soon(t, last).err, context.Canceled)
	line, err = server.in.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line[:20], `"b"`)
	server.send(`{"return": 1}`, `{"return": 2}`)
	require.Equal(t, "1", soon(t, a).out)
	require.Equal(t, "2", soon(t, b).out)
	require.NoError(t, server.conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	line, err = server.in.ReadString('\n')
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "%q was written after its context had ended", line)
}

// A conn that changes or counts what is written is not gone around.
type counting struct {
	*net.UnixConn
	mu sync.Mutex
	n  int
}

func (c *counting) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.n += len(b)
	c.mu.Unlock()
	return c.UnixConn.Write(b)
}

func TestWrappedConnIsWrittenTo(t *testing.T) {
	conn, server := pair(t)
	hello := make(chan error, 1)
	go func() { hello <- server.hello() }()
	wrapped := &counting{UnixConn: conn}
	c := NewClient()
	require.NoError(t, c.Connect(within(t, 10*time.Second), wrapped))
	require.NoError(t, <-hello)
	require.NoError(t, c.Close())
	wrapped.mu.Lock()
	defer wrapped.mu.Unlock()
	require.Positive(t, wrapped.n)
}

// The line about frames that were left out stands in their place.
func TestTranscriptGapInItsPlace(t *testing.T) {
	tr := &Transcript{queue: make(chan queuedFrame, 2), file: rotatingFile{path: filepath.Join(t.TempDir(), "t"), limit: transcriptSize}}
	require.NoError(t, tr.file.open())
	for i := range 5 { // 2, 3 and 4 are left out
		tr.take(Frame{Time: time.Now(), Data: fmt.Appendf(nil, "%d", i)})
	}
	tr.stop = func() {}
	tr.work.Go(func() { tr.write(nil) })
	require.NoError(t, tr.Close())
	got := lines(t, tr.file.path)
	require.Contains(t, got[0], "<- 0", "%q", got)
	require.Contains(t, got[len(got)-1], "left out", "%q", got)
}

type byRef func(ref string) Conn

func (f byRef) QMP(_ context.Context, ref string) (Conn, error) { return f(ref), nil }

// A VM that does not answer does not keep Supports of others from working.
func TestSchemaOfOtherVM(t *testing.T) {
	silent, _ := connected(t, WithBinary("a"))
	good, server := connected(t, WithBinary("b"))
	background(t, func() { server.serve(always(`{"return": []}`)) })
	t.Cleanup(func() { _ = good.Close() })
	m := NewManager(byRef(func(ref string) Conn {
		if ref == "silent" {
			return silent
		}
		return good
	}))
	ctx, cancel := context.WithCancel(t.Context())
	background(t, func() { _, _ = m.Supports(ctx, "silent", "x") })
	t.Cleanup(cancel)
	time.Sleep(50 * time.Millisecond)
	_, err := m.Supports(within(t, time.Second), "good", "x")
	require.NoError(t, err)
}

// A VM that is started anew with another QEMU during the call: what the new one says is
// not kept as the old one's.
func TestSchemaOfReplacedVM(t *testing.T) {
	schema := func(command string) string {
		return `{"return": [{"name": "` + command + `", "meta-type": "command", "arg-type": "0"}]}`
	}
	older, server := connected(t, WithBinary("older"))
	background(t, func() { server.serve(always(schema("old"))) })
	t.Cleanup(func() { _ = older.Close() })
	newer, server2 := connected(t, WithBinary("newer"))
	background(t, func() { server2.serve(always(schema("new"))) })
	t.Cleanup(func() { _ = newer.Close() })
	n := 0
	m := NewManager(byRef(func(ref string) Conn {
		if n++; ref == "other" || n == 1 {
			return older
		}
		return newer
	}))
	_, err := m.Supports(t.Context(), "web", "old") // restarted meanwhile
	require.NoError(t, err)
	has, err := m.Supports(t.Context(), "other", "old")
	require.NoError(t, err)
	require.True(t, has)
}
