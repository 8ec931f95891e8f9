package libvirtrpc

import (
	"net"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
)

// go-libvirt drops those without data.
func TestEventsWithAndWithoutData(t *testing.T) {
	d := daemon.Get(t)
	e := listen(t, d)
	dom := startPaused(t, d, "events", "")
	l := d.Connect(t)
	started := nextEvent(t, e, dom, func(e Event) bool {
		return e.Kind == KindLifecycle && e.Lifecycle.Event == libvirt.DomainEventStarted
	})
	require.Equal(t, "events", started.Domain.Name)

	monitor := func(name string) Event {
		return nextEvent(t, e, dom, func(e Event) bool { return e.Kind == KindMonitor && e.Monitor.Name == name })
	}
	require.NoError(t, l.DomainResume(dom))
	resume := monitor("RESUME")
	require.Nil(t, resume.Monitor.Details)
	require.NotZero(t, resume.Monitor.Seconds)
	require.NoError(t, l.DomainReset(dom, 0))
	require.Contains(t, string(monitor("RESET").Monitor.Details), "guest")
	require.NoError(t, l.DomainSuspend(dom))
	require.Nil(t, monitor("STOP").Monitor.Details)

	require.NoError(t, l.DomainDestroy(dom))
	stopped := nextEvent(t, e, dom, func(e Event) bool {
		return e.Kind == KindLifecycle && e.Lifecycle.Event == libvirt.DomainEventStopped
	})
	require.EqualValues(t, libvirt.DomainEventStoppedDestroyed, stopped.Lifecycle.Detail)

	require.NoError(t, e.Close())
	for range e.C() {
	}
	require.ErrorIs(t, e.Err(), net.ErrClosed)
}

// The test driver has no monitor.
func TestEventsWithoutMonitor(t *testing.T) {
	d := daemon.Get(t)
	e, err := Listen(t.Context(), dial(t, d), "test:///default", Keepalive{})
	require.NoError(t, err)
	require.NoError(t, e.Close())
}
