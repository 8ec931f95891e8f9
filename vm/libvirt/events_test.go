package libvirt

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
	"github.com/maqet/maqet/internal/libvirttest"
)

// eventsPaused starts a domain whose CPUs don't run. It ends with t.
func eventsPaused(t testing.TB, d *libvirttest.Daemon, name string) libvirt.Domain {
	t.Helper()
	l := d.Connect(t)
	dom, err := l.DomainCreateXML(`<domain type='qemu'>
		<name>`+name+`</name><memory unit='MiB'>32</memory>
		<os><type arch='x86_64' machine='q35'>hvm</type></os>
		<devices><controller type='usb' model='none'/><memballoon model='none'/>
			<serial type='pty'/><console type='pty'/></devices>
	</domain>`, libvirt.DomainStartPaused)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.DomainDestroy(dom) })
	return dom
}

// cuttable dials d, and can cut all that was dialled.
type cuttable struct {
	d     *libvirttest.Daemon
	mu    sync.Mutex
	conns []net.Conn
	fails error // of dial
}

func (c *cuttable) dial(context.Context) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fails != nil {
		return nil, c.fails
	}
	conn, err := c.d.Dial()
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

// cut ends all connections; fails is what further ones meet.
func (c *cuttable) cut(fails error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns, c.fails = nil, fails
}

func (c *cuttable) dials() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

func eventsHub(t testing.TB, c *cuttable) *eventHub {
	t.Helper()
	h := newEventHub(c.dial, func() string { return string(c.d.Driver()) }, slog.New(slog.DiscardHandler))
	t.Cleanup(h.close)
	return h
}

// eventsNext returns the next event of the monitor.
func eventsNext(t testing.TB, s *subscription) string {
	t.Helper()
	select {
	case e := <-s.c:
		return e.Monitor.Name
	case <-time.After(time.Minute):
		t.Fatal("no event")
		return ""
	}
}

func eventsGap(t testing.TB, s *subscription) {
	t.Helper()
	select {
	case <-s.gap:
	case <-time.After(time.Minute):
		t.Fatal("no gap")
	}
}

// go-libvirt is stuck for good after 19 of these cycles.
func TestEventSubscriptionsUnderLoad(t *testing.T) {
	d := daemon.Get(t)
	c := &cuttable{d: d}
	h := eventsHub(t, c)
	dom := eventsPaused(t, d, "events-load")
	all, err := h.subscribe(t.Context(), "events-load", dom.UUID, 4096, libvirtrpc.KindMonitor)
	require.NoError(t, err)
	defer all.close()

	stop := make(chan struct{})
	var load sync.WaitGroup
	l := d.Connect(t)
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = l.DomainResume(dom)
			_ = l.DomainReset(dom, 0)
			_ = l.DomainSuspend(dom)
		}
	})
	for range 100 {
		s, err := h.subscribe(t.Context(), "events-load", dom.UUID, 1)
		require.NoError(t, err)
		<-s.c
		s.close()
	}
	close(stop)
	load.Wait()
	require.Empty(t, all.gap)
	seen := map[string]bool{}
	for len(seen) < 3 {
		seen[eventsNext(t, all)] = true
	}
	require.Equal(t, map[string]bool{"RESUME": true, "RESET": true, "STOP": true}, seen)
	require.Equal(t, 1, c.dials())
}

// Who is slow with one domain's events makes nobody else wait.
func TestEventsOfSlowSubscriber(t *testing.T) {
	d := daemon.Get(t)
	h := eventsHub(t, &cuttable{d: d})
	dom := eventsPaused(t, d, "events-slow")
	slow, err := h.subscribe(t.Context(), "events-slow", dom.UUID, 1, libvirtrpc.KindMonitor)
	require.NoError(t, err)
	defer slow.close()
	changed, err := h.subscribe(t.Context(), "events-slow", dom.UUID, 0)
	require.NoError(t, err)
	defer changed.close()
	other, err := h.subscribe(t.Context(), "events-other", libvirt.UUID{1}, 1)
	require.NoError(t, err)
	defer other.close()
	fast, err := h.subscribe(t.Context(), "events-slow", dom.UUID, eventQueue, libvirtrpc.KindMonitor)
	require.NoError(t, err)
	defer fast.close()

	l := d.Connect(t)
	require.NoError(t, l.DomainResume(dom))
	require.NoError(t, l.DomainSuspend(dom))
	require.Equal(t, "RESUME", eventsNext(t, fast))
	require.Equal(t, "STOP", eventsNext(t, fast))
	eventsGap(t, slow)
	require.EqualValues(t, 1, slow.dropped())
	require.Equal(t, "RESUME", eventsNext(t, slow))
	eventsGap(t, changed)
	require.Empty(t, other.c)
}

// The connection is lost: there is a new one, and subscriptions go on and know of the gap.
func TestEventsAfterLoss(t *testing.T) {
	d := daemon.Get(t)
	c := &cuttable{d: d}
	h := eventsHub(t, c)
	dom := eventsPaused(t, d, "events-lost")
	s, err := h.subscribe(t.Context(), "events-lost", dom.UUID, eventQueue, libvirtrpc.KindMonitor)
	require.NoError(t, err)
	defer s.close()
	require.Empty(t, s.gap)

	away := errors.New("away")
	c.cut(away)
	require.Eventually(t, func() bool {
		late, err := h.subscribe(t.Context(), "late", dom.UUID, 0)
		if err == nil { // the loss was not noticed yet
			late.close()
			return false
		}
		require.ErrorIs(t, err, errors.ErrLibvirtConnection)
		require.ErrorIs(t, err, away)
		return true
	}, time.Minute, time.Millisecond)
	require.Len(t, h.subs, 1)
	c.cut(nil)
	eventsGap(t, s)
	require.NoError(t, d.Connect(t).DomainResume(dom))
	require.Equal(t, "RESUME", eventsNext(t, s))
}

func TestEventsOfClosedHub(t *testing.T) {
	d := daemon.Get(t)
	h := eventsHub(t, &cuttable{d: d})
	h.close()
	_, err := h.subscribe(t.Context(), "vm", libvirt.UUID{1}, 1)
	require.ErrorIs(t, err, net.ErrClosed)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h = eventsHub(t, &cuttable{d: d})
	h.dial = func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	_, err = h.subscribe(ctx, "vm", libvirt.UUID{1}, 1)
	require.ErrorIs(t, err, context.Canceled)
}
