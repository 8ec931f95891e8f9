package libvirtrpc

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
)

// go-libvirt drops those without data.
func TestEventsWithAndWithoutData(t *testing.T) {
	d := daemon.Get(t)
	e := listen(t, d)
	dom := startPaused(t, d, "events", "", "")
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

func TestEventFaults(t *testing.T) {
	event := header{programRemote, version, procLifecycle, typeMessage, 0, statusOK}
	for name, tc := range map[string]struct {
		serve func(f *fake)
		want  error
	}{
		"end":       {func(*fake) {}, io.EOF},
		"truncated": {func(f *fake) { _, _ = f.Write(event.message(words(1, 2))[:30]) }, io.ErrUnexpectedEOF},
		"short":     {func(f *fake) { f.send(event, words(1, 2)) }, ErrProtocol},
		"a reply":   {func(f *fake) { f.reply(event, statusOK, nil) }, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			e := fakeEvents(t, Keepalive{Interval: time.Minute}, func(f *fake) {
				unknown := event
				unknown.procedure = 999
				f.send(unknown, []byte("of a later version"))
				tc.serve(f)
			})
			_, open := <-e.C()
			require.False(t, open)
			require.ErrorIs(t, e.Err(), tc.want)
		})
	}
}

func TestKeepalive(t *testing.T) {
	silent := make(chan struct{})
	defer close(silent)
	pings := make(chan header, 100)
	e := fakeEvents(t, Keepalive{Interval: 50 * time.Millisecond, Count: 2}, func(f *fake) {
		f.send(header{programKeepalive, version, procPing, typeMessage, 0, statusOK}, nil)
		if h, _ := f.next(); !isPong(h) {
			return
		}
		for range 3 { // answered, so it goes on
			h, _ := f.next()
			pings <- h
			h.procedure = procPong
			f.send(h, nil)
		}
		for range 2 {
			h, _ := f.next()
			pings <- h
		}
		<-silent
	})
	_, open := <-e.C()
	require.False(t, open)
	require.ErrorIs(t, e.Err(), ErrSilent)
	require.Len(t, pings, 5)
	require.EqualValues(t, procPing, (<-pings).procedure)
}

// Nobody takes the events: they don't pile up, and Close ends it all the same.
func TestEventsThatNobodyTakes(t *testing.T) {
	var payload encoder
	payload.uint32(1)
	payload.domain(libvirt.Domain{Name: "vm"})
	payload.uint32(0)
	payload.uint32(0)
	sent := make(chan int, 1)
	e := fakeEvents(t, Keepalive{Interval: time.Minute}, func(f *fake) {
		n := 0
		for ; ; n++ {
			if _, err := f.Write(header{programRemote, version, procLifecycle, typeMessage, 0, statusOK}.message(payload)); err != nil {
				break
			}
		}
		sent <- n
	})
	require.Eventually(t, func() bool { return len(e.c) == cap(e.c) }, time.Minute, time.Millisecond)
	within(t, 30*time.Second, func() { _ = e.Close() })
	require.Less(t, <-sent, 5000)
	require.ErrorIs(t, e.Err(), net.ErrClosed)
}
