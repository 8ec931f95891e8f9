package libvirt

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
)

// connHost returns a host of the daemon that ends with the test.
func connHost(t testing.TB, d *libvirttest.Daemon) *host {
	t.Helper()
	return connHostOf(t, Options{URI: d.URI(), Grace: 2 * time.Second, Timeout: time.Minute})
}

func connHostOf(t testing.TB, o Options) *host {
	t.Helper()
	b, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b.host
}

// connVersion is a cheap call.
func connVersion(l *libvirt.Libvirt) error {
	_, err := l.ConnectGetLibVersion()
	return err
}

func TestCall(t *testing.T) {
	h := connHost(t, daemon.Get(t))
	require.True(t, h.local())
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))

	err := h.call(t.Context(), "find", "web", func(l *libvirt.Libvirt) error {
		_, err := l.DomainLookupByName("no-such-domain")
		return err
	})
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	require.True(t, hasCode(err, libvirt.ErrNoDomain))
	var answer *errors.LibvirtError
	require.ErrorAs(t, err, &answer)
	require.Equal(t, int(libvirt.ErrNoDomain), answer.Code)
	require.ErrorContains(t, err, `find "web": libvirt: Domain not found`)

	require.NoError(t, h.lifeline(t.Context(), "ask", "", connVersion))
	require.NoError(t, h.longCall(t.Context(), "ask", "", connVersion))
	c, err := h.dial(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, h.close())
	require.NoError(t, h.close(), "again")
	require.ErrorIs(t, h.call(t.Context(), "ask", "", connVersion), errors.ErrLibvirtConnection)
}

func TestCallEndsWithItsContext(t *testing.T) {
	h := connHost(t, daemon.Get(t))
	ctx, cancel := context.WithCancel(t.Context())
	running, end := make(chan struct{}), make(chan struct{})
	time.AfterFunc(0, func() { <-running; cancel() })
	err := h.call(ctx, "wait", "web", func(*libvirt.Libvirt) error {
		close(running)
		<-end
		return nil
	})
	close(end)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, errors.ErrHostUnreachable)
}

// The abandoned call runs on, and close waits for it.
func TestCancelledCallReturnsAtOnce(t *testing.T) {
	h := connHost(t, daemon.Get(t))
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	end := make(chan struct{})
	var finished atomic.Bool
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := h.call(ctx, "wait", "", func(*libvirt.Libvirt) error { <-end; finished.Store(true); return nil })
		require.ErrorIs(t, err, context.Canceled)
	}
	time.AfterFunc(20*time.Millisecond, func() { close(end) })
	require.NoError(t, h.close())
	<-end
	require.True(t, finished.Load())
}

func TestSixteenOnOneConnection(t *testing.T) {
	h := connHost(t, daemon.Get(t))
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("no-such-%d", n)
			for range 50 {
				err := h.call(t.Context(), "find", name, func(l *libvirt.Libvirt) error {
					_, err := l.DomainLookupByName(name)
					return err
				})
				if !errors.Is(err, errors.ErrVMNotFound) || !strings.Contains(err.Error(), "'"+name+"'") {
					t.Errorf("%s: %v", name, err) // the answer to somebody else's call
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, connLinks(&h.calls))
}

// The test driver comes with any libvirtd: with state for all, or for each connection.
func TestTestDriver(t *testing.T) {
	d := daemon.Get(t)
	socket := "?socket=" + d.Socket()
	file := filepath.Join(t.TempDir(), "node.xml")
	require.NoError(t, os.WriteFile(file, []byte(`<node><domain type='test'><name>own</name><memory>65536</memory>
		<os><type>hvm</type></os></domain></node>`), 0o644))
	for uri, domain := range map[string]string{"test:///default" + socket: "test", "test://" + file + socket: "own"} {
		h := connHostOf(t, Options{URI: uri})
		require.NoError(t, h.call(t.Context(), "find", domain, func(l *libvirt.Libvirt) error {
			_, err := l.DomainLookupByName(domain)
			return err
		}), uri)
	}
}

// A socket that this user may not use is no socket that is missing.
func TestNoPermission(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "closed", "libvirt-sock")
	require.NoError(t, os.Mkdir(filepath.Dir(socket), 0o700))
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, os.Chmod(filepath.Dir(socket), 0))
	defer func() { require.NoError(t, os.Chmod(filepath.Dir(socket), 0o700)) }()
	h := connHostOf(t, Options{URI: "qemu:///system?socket=" + socket})
	denied := make(chan error)
	go func() {
		if os.Geteuid() == 0 { // root may everything: this thread is to be somebody else
			runtime.LockOSThread() // and ends with its goroutine
			unix.Setfsuid(65534)
		}
		_, err := h.dial(context.Background())
		denied <- err
	}()
	err = <-denied
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "add yourself to the group libvirt")
}
