package qmp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	greeting    = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}`
	plainHello  = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}`
	stopEvent   = `{"timestamp": {"seconds": 1700000000, "microseconds": 500000}, "event": "STOP"}`
	resumeEvent = `{"timestamp": {"seconds": 1700000001, "microseconds": 0}, "event": "RESUME"}`
)

// fake is the server's side of a connection, driven line by line by a test.
type fake struct {
	t    testing.TB
	conn *net.UnixConn
	in   *bufio.Reader
}

// pair returns both ends of a unix socket.
func pair(t testing.TB) (client *net.UnixConn, server *fake) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	a, b := fdConn(t, fds[0]), fdConn(t, fds[1])
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, &fake{t: t, conn: b, in: bufio.NewReaderSize(b, 1<<20)}
}

func fdConn(t testing.TB, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socketpair")
	conn, err := net.FileConn(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return conn.(*net.UnixConn)
}

// connected returns a client whose handshake with the fake is done.
func connected(t testing.TB, opts ...ClientOption) (*Client, *fake) {
	t.Helper()
	c := NewClient(opts...)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c, reconnected(t, c)
}

func reconnected(t testing.TB, c *Client) *fake {
	t.Helper()
	conn, server := pair(t)
	hello := make(chan error, 1)
	go func() { hello <- server.hello() }()
	require.NoError(t, c.Connect(within(t, 10*time.Second), conn))
	require.NoError(t, <-hello)
	return server
}

func (f *fake) hello() error {
	if _, err := fmt.Fprintln(f.conn, greeting); err != nil {
		return err
	}
	id, err := f.handshake()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f.conn, `{"return": {}, "id": %s}`+"\n", id)
	return err
}

var handshakeRequest = regexp.MustCompile(`^\{"execute":"qmp_capabilities","arguments":\{"enable":\["oob"\]\},"id":(\d+)\}\n$`)

// handshake reads the handshake's request and returns its id.
func (f *fake) handshake() (id string, err error) {
	line, err := f.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	match := handshakeRequest.FindStringSubmatch(line)
	if match == nil {
		return "", fmt.Errorf("%q is no handshake", line)
	}
	return match[1], nil
}

// send writes lines as one piece, each with QEMU's line end.
func (f *fake) send(lines ...string) {
	f.t.Helper()
	_, err := f.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
	require.NoError(f.t, err)
}

// expect reads one request.
func (f *fake) expect(want string) {
	f.t.Helper()
	line, err := f.in.ReadString('\n')
	require.NoError(f.t, err)
	require.Equal(f.t, want, strings.TrimSuffix(line, "\n"))
}

// expectOOB reads an out-of-band request without arguments and returns its id.
func (f *fake) expectOOB(command string) (id string) {
	f.t.Helper()
	line, err := f.in.ReadString('\n')
	require.NoError(f.t, err)
	match := regexp.MustCompile(`^\{"exec-oob":"` + command + `","id":(\d+)\}\n$`).FindStringSubmatch(line)
	require.NotNil(f.t, match, line)
	return match[1]
}

// serve answers every request with what reply returns, until the connection ends.
func (f *fake) serve(reply func(request string) string) {
	for {
		line, err := f.in.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := f.conn.Write([]byte(reply(line) + "\r\n")); err != nil {
			return
		}
	}
}

// background runs fn and waits for it when the test ends.
func background(t testing.TB, fn func()) {
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	t.Cleanup(func() { <-done })
}

// answer is what Execute returned.
type answer struct {
	out string
	err error
}

// execute runs a command in the background.
func execute(ctx context.Context, c Conn, command string, args any) <-chan answer {
	ch := make(chan answer, 1)
	go func() {
		out, err := c.Execute(ctx, command, args)
		ch <- answer{string(out), err}
	}()
	return ch
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// soon receives from ch; nothing within ten seconds is a failure.
func soon[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		require.True(t, ok, "channel closed")
		return v
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing received in 10 s")
		panic("unreachable")
	}
}

// closed waits until ch is closed and returns what was still in it.
func closed[T any](t testing.TB, ch <-chan T) (rest []T) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case v, ok := <-ch:
			if !ok {
				return rest
			}
			rest = append(rest, v)
		case <-limit:
			require.FailNow(t, "not closed within 10 s")
		}
	}
}

// socketDir returns a folder whose path is short enough for sockets.
func socketPath(t testing.TB, name string) string {
	dir, err := os.MkdirTemp("", "qmp")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, name)
}
