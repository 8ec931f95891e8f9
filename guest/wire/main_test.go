package wire

import (
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeOps are operations whose functions a test sets.
type fakeOps struct {
	mu     sync.Mutex
	starts []Sync
	exec   func(ctx context.Context, cmd Command, stdin *In, stdout, stderr *Out) (ExecResult, error)
	read   func(ctx context.Context, to *Out) error
	write  func(ctx context.Context, from *In) error
	put    func(from *In) error
	get    func(to *Out) error
	seed   []byte
	clock  time.Time
	id     Identity
}

func (f *fakeOps) Start(s Sync) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, s)
}

func (f *fakeOps) Exec(ctx context.Context, cmd Command, stdin *In, stdout, stderr *Out) (ExecResult, error) {
	return f.exec(ctx, cmd, stdin, stdout, stderr)
}
func (f *fakeOps) ReadFile(ctx context.Context, _ string, to *Out) error { return f.read(ctx, to) }
func (f *fakeOps) WriteFile(ctx context.Context, _ string, _ fs.FileMode, from *In) error {
	return f.write(ctx, from)
}
func (f *fakeOps) PutTree(_ context.Context, _ string, from *In) error { return f.put(from) }
func (f *fakeOps) GetTree(_ context.Context, _ string, to *Out) error  { return f.get(to) }
func (f *fakeOps) Stat(path string) (FileInfo, error) {
	if path == "/missing" {
		return FileInfo{}, &fs.PathError{Op: "lstat", Path: path, Err: syscall.ENOENT}
	}
	return FileInfo{Size: 7, Mode: fs.ModeSymlink | 0o777, ModTime: time.Unix(5, 6), Link: "there"}, nil
}

func (f *fakeOps) Reseed(seed []byte) error {
	f.seed = append([]byte{}, seed...)
	return nil
}

func (f *fakeOps) SetTime(t time.Time) error {
	f.clock = t
	return nil
}

func (f *fakeOps) Individualize(id Identity) error {
	f.id = id
	if id.Hostname == "refused" {
		return &RemoteError{Op: "individualize", Errno: syscall.EPERM, Msg: "set the host name"}
	}
	return nil
}

// Dial echoes what comes; nobody listens on port 1.
func (f *fakeOps) Dial(ctx context.Context, address string, connected func() error, from *In, to *Out) error {
	if address == "127.0.0.1:1" {
		return syscall.ECONNREFUSED
	}
	if address == "192.0.2.1:1" { // nobody answers
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := connected(); err != nil {
		return err
	}
	if _, err := to.ReadFrom(from); err != nil {
		return err
	}
	return to.CloseWrite()
}

// socketPair returns the two ends of a unix stream socket.
func socketPair(t testing.TB) (host, guest net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		conns[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	return conns[0], conns[1]
}

// serve runs a server on conn until the test ends.
func serve(t testing.TB, conn io.ReadWriteCloser, ops Operations) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Serve(ctx, conn, ops, "test-feature")
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// session connects to a server with the given operations.
func session(t testing.TB, ops Operations) *Session {
	t.Helper()
	host, guest := socketPair(t)
	serve(t, guest, ops)
	s, err := Connect(within(t, 5*time.Second), host)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// cat copies standard input to standard output.
func cat(_ context.Context, _ Command, stdin *In, stdout, _ *Out) (ExecResult, error) {
	_, err := stdout.ReadFrom(stdin)
	return ExecResult{}, err
}

// hang runs until it is cancelled.
func hang(ctx context.Context, _ Command, _ *In, _, _ *Out) (ExecResult, error) {
	<-ctx.Done()
	return ExecResult{ExitCode: -1, Signal: 9}, nil
}
