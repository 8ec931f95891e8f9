package libvirt

import (
	"context"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
)

// connLimit tells a hang from a slow machine.
const connLimit = 30 * time.Second

// connFrozen starts a daemon that stands still once the host is connected to it, until the
// test ends.
func connFrozen(t *testing.T, o Options) *host {
	t.Helper()
	d := libvirttest.Start(t)
	o.URI = d.URI()
	h := connHostOf(t, o)
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	libvirtd := d.Libvirtd(t)
	require.NoError(t, libvirtd.Signal(unix.SIGSTOP))
	t.Cleanup(func() { require.NoError(t, libvirtd.Signal(unix.SIGCONT)) }) // before the daemon is stopped
	return h
}

// A libvirtd that stands still blocks go-libvirt for ever: here each call ends at its deadline,
// whoever set it, with a typed error.
func TestFrozenLibvirtdDeadlines(t *testing.T) {
	h := connFrozen(t, Options{Timeout: time.Second})
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := h.call(ctx, "ask", "web", connVersion)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	require.ErrorIs(t, err, errors.ErrHostUnreachable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, `ask "web": no answer in time from qemu:///`)

	err = h.call(t.Context(), "ask", "web", connVersion)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection, "the host's own limit")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	err = h.call(ctx, "ask", "web", connVersion)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(begun), connLimit)
}

// go-libvirt's Disconnect asks libvirtd first, and hangs.
func TestFrozenLibvirtdClose(t *testing.T) {
	h := connFrozen(t, Options{})
	calls := make(chan error, 3)
	for range cap(calls) {
		go func() { calls <- h.call(t.Context(), "ask", "", connVersion) }()
	}
	time.Sleep(50 * time.Millisecond) // most of them have been sent; either way they must end
	begun := time.Now()
	require.NoError(t, h.close())
	for range cap(calls) {
		require.ErrorIs(t, <-calls, errors.ErrLibvirtConnection)
	}
	require.Less(t, time.Since(begun), connLimit)
}

// Who watches learns that libvirtd does not answer, and the calls that wait for it fail then,
// before their own deadlines.
func TestFrozenLibvirtdIsNoticed(t *testing.T) {
	h := connFrozen(t, Options{Grace: time.Second, Timeout: time.Hour})
	states, stop := h.reach.subscribe()
	defer stop()
	begun := time.Now()
	err := h.call(t.Context(), "ask", "", connVersion)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	require.ErrorContains(t, err, "does not answer")
	state := connNext(t, states)
	require.ErrorIs(t, state.err, errors.ErrHostUnreachable)
	require.False(t, state.since.IsZero())
	require.Less(t, time.Since(begun), connLimit)
}

func connNext(t *testing.T, states <-chan reachState) reachState {
	t.Helper()
	select {
	case s := <-states:
		return s
	case <-time.After(connLimit):
		require.FailNow(t, "nothing was told")
		panic("unreachable")
	}
}

// When libvirtd is killed, calls in flight fail at once, and later ones too.
func TestKilledLibvirtd(t *testing.T) {
	d := libvirttest.Start(t)
	h := connHost(t, d)
	states, stop := h.reach.subscribe()
	defer stop()
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	libvirtd := d.Libvirtd(t)
	require.NoError(t, libvirtd.Signal(unix.SIGSTOP)) // so that the calls are surely in flight
	calls := make(chan error, 8)
	for range cap(calls) {
		go func() { calls <- h.call(t.Context(), "ask", "web", connVersion) }()
	}
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, libvirtd.Signal(unix.SIGKILL))
	begun := time.Now()
	for range cap(calls) {
		require.ErrorIs(t, <-calls, errors.ErrLibvirtConnection)
	}
	require.ErrorIs(t, connNext(t, states).err, errors.ErrLibvirtConnection)
	err := h.call(t.Context(), "ask", "", connVersion)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	require.ErrorContains(t, err, "start libvirtd")
	require.Less(t, time.Since(begun), connLimit)
}

// After its connection go-libvirt returns a bare EINVAL.
func TestCallAfterTheConnection(t *testing.T) {
	h := connHost(t, daemon.Get(t))
	var old *libvirt.Libvirt
	require.NoError(t, h.call(t.Context(), "ask", "", func(l *libvirt.Libvirt) error { old = l; return nil }))
	k, err := h.calls.get(t.Context(), nil)
	require.NoError(t, err)
	require.Same(t, old, k.l)
	k.wire.fail(errLost)
	<-k.l.Disconnected()
	bare := connVersion(old)
	require.Equal(t, syscall.EINVAL, bare)
	require.ErrorIs(t, callError(h.endpoint, "ask", "web", bare, nil), errors.ErrLibvirtConnection)

	require.NoError(t, h.call(t.Context(), "ask", "", func(l *libvirt.Libvirt) error {
		require.NotSame(t, old, l, "a new connection is a new object")
		return connVersion(l)
	}))
}

// Connections that are cut again and again under load are replaced each time.
func TestReconnectUnderLoad(t *testing.T) {
	d := daemon.Get(t)
	relay := newConnRelay(t, "unix", d.Socket())
	h := connHostOf(t, Options{URI: relay.uri(string(d.Driver()))})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := h.call(ctx, "ask", "", connVersion)
				if err != nil && ctx.Err() == nil && !errors.Is(err, errors.ErrLibvirtConnection) {
					t.Error(err)
				}
			}
		})
	}
	for late := time.Now().Add(connLimit); relay.connections() < 10 && time.Now().Before(late); {
		time.Sleep(5 * time.Millisecond)
		relay.cut()
	}
	cancel()
	wg.Wait()
	require.Eventually(t, func() bool { return h.call(t.Context(), "ask", "", connVersion) == nil }, connLimit, time.Millisecond)
	require.GreaterOrEqual(t, relay.connections(), 10)
}

// A connection on which nothing comes back any more is replaced, though it has not ended.
func TestWedgedConnectionIsReplaced(t *testing.T) {
	d := daemon.Get(t)
	relay := newConnRelay(t, "unix", d.Socket())
	h := connHostOf(t, Options{URI: relay.uri(string(d.Driver())), Grace: time.Second, Timeout: time.Hour})
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	relay.freeze()
	h.calls.mu.Lock()
	wedged := h.calls.current
	h.calls.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.call(ctx, "ask", "", connVersion), context.DeadlineExceeded)
	select { // a call that was not answered has the connection examined
	case <-wedged.wire.lost:
	case <-time.After(connLimit):
		require.FailNow(t, "still there")
	}
	relay.thaw()
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
}

// Calls that never return take their connection out of use, and not the host.
func TestFullConnectionIsLeftBehind(t *testing.T) {
	h := connHost(t, daemon.Get(t))
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	time.Sleep(2 * moving) // the connection is not busy
	end := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(end) })
	defer letGo()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg, running sync.WaitGroup
	running.Add(maxCalls)
	for range maxCalls {
		wg.Go(func() {
			_ = h.call(ctx, "hang", "", func(*libvirt.Libvirt) error { running.Done(); <-end; return nil })
		})
	}
	running.Wait()
	require.Equal(t, 1, connLinks(&h.calls))
	for range 3 {
		require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	}
	cancel()
	wg.Wait()
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	require.Equal(t, 2, connLinks(&h.calls), "abandoned calls hold their connection too")
	letGo()
	require.Eventually(t, func() bool { return connLinks(&h.calls) == 1 }, connLimit, 10*time.Millisecond, "it ends with its last call")
}

func connLinks(n *line) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links)
}

// A lifeline is never ended from here, as guests would end with it.
func TestLifelineSurvivesFrozenNetwork(t *testing.T) {
	d := daemon.Get(t)
	relay := newConnRelay(t, "unix", d.Socket())
	h := connHostOf(t, Options{URI: relay.uri(string(d.Driver())), Grace: time.Second})
	var first, second *libvirt.Libvirt
	require.NoError(t, h.lifeline(t.Context(), "ask", "", func(l *libvirt.Libvirt) error { first = l; return connVersion(l) }))
	relay.freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.lifeline(ctx, "ask", "", connVersion), errors.ErrLibvirtConnection)
	require.Eventually(t, func() bool {
		h.life.mu.Lock()
		defer h.life.mu.Unlock()
		return h.life.current == nil
	}, connLimit, 10*time.Millisecond, "later guests get another one")
	relay.thaw()
	require.NoError(t, h.lifeline(t.Context(), "ask", "", func(l *libvirt.Libvirt) error { second = l; return connVersion(l) }))
	require.NotSame(t, first, second)
	require.NoError(t, connVersion(first))
}

func TestReachTellsLossAndReturn(t *testing.T) {
	d := daemon.Get(t)
	relay := newConnRelay(t, "unix", d.Socket())
	h := connHostOf(t, Options{URI: relay.uri(string(d.Driver()))})
	states, stop := h.reach.subscribe()
	defer stop()
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	relay.to("")
	relay.cut()
	lost := connNext(t, states)
	require.ErrorIs(t, lost.err, errors.ErrLibvirtConnection)
	late, stopLate := h.reach.subscribe()
	defer stopLate()
	require.Error(t, connNext(t, late).err, "who comes later learns it too")
	begun := time.Now()
	require.ErrorIs(t, h.call(t.Context(), "ask", "", connVersion), errors.ErrLibvirtConnection)
	require.Less(t, time.Since(begun), connLimit)

	relay.to(libvirttest.Start(t).Socket()) // libvirtd was started again
	for _, c := range []<-chan reachState{states, late} {
		for state := connNext(t, c); state.err != nil; {
			state = connNext(t, c)
		}
	}
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
}
