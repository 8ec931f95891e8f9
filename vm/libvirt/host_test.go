package libvirt

import (
	"context"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

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
