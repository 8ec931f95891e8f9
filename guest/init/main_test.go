package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/maqet/maqet/guest/wire"
	"github.com/stretchr/testify/require"
)

// prSetChildSubreaper makes orphans ours, as they are the first process's.
const prSetChildSubreaper = 36

// testReaper is the only reaper of this test binary: there can be no second
// that waits for any child.
var testReaper = newReaper()

func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	go testReaper.run()
	os.Exit(m.Run())
}

// socketPair returns the two ends of a unix stream socket.
func socketPair(t *testing.T) (host, guest net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		conns[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		t.Cleanup(func() { conns[i].Close() })
	}
	return conns[0], conns[1]
}

// unseeded leaves the clock and the random generator of the test's machine
// alone.
type unseeded struct{ *operations }

func (unseeded) Start(wire.Sync) {}

// connect returns a session with real operations on this machine.
func connect(t *testing.T) *wire.Session {
	t.Helper()
	host, guest := socketPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		wire.Serve(ctx, guest, unseeded{&operations{reaper: testReaper, nets: newNetworks("/sys", "")}})
	}()
	s, err := wire.Connect(within(t, 5*time.Second), host)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Close()
		cancel()
		<-done
	})
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// write makes a file in a folder of the test.
func write(t *testing.T, path, content string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}
