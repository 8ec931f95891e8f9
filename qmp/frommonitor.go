package qmp

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"

	"github.com/maqet/maqet/errors"
)

// FromMonitor returns a Conn on any go-qemu Monitor that is connected already, such as
// that of a libvirt domain, and owns it from now on: Close disconnects it. Commands are
// sent one at a time, because monitors differ in what they bear. A cancelled command
// returns at once, but the next one waits until the monitor has answered it.
//
// A monitor says little about errors: one that is not recognised as the transport's
// becomes an *errors.QMPError of class GenericError, unless the reply says more. It may
// lose events as well, and not notice that QEMU has gone until the next command: of
// go-qemu's LibvirtRPCMonitor, STOP, RESUME and all other events without data never
// arrive.
//
// Close waits for the monitor's Disconnect, which asks libvirtd to let it go. Where that
// may hang, close the monitor's net.Conn first.
func FromMonitor(m goqemu.Monitor) (Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	events, err := m.Events(ctx)
	if err != nil && !errors.Is(err, goqemu.ErrEventsNotSupported) {
		cancel()
		return nil, errors.Wrap(errors.ErrQMPConnection, "events of the monitor", "", err)
	}
	c := &monitorConn{monitor: m, cancel: cancel}
	c.Relay = NewRelay(c.carry)
	c.Open()
	if events != nil {
		c.listening.Go(func() { c.listen(events) })
	}
	return c, nil
}

type monitorConn struct {
	*Relay
	monitor   goqemu.Monitor
	cancel    context.CancelFunc // ends the monitor's events
	listening sync.WaitGroup
}

var _ Tapper = (*monitorConn)(nil)

// carry is the [Carrier]. Monitors know no contexts.
func (c *monitorConn) carry(_ context.Context, request []byte) ([]byte, error) {
	out, err := c.monitor.Run(request)
	if err != nil {
		return nil, c.failed(err)
	}
	return out, nil
}

// listen hands out the monitor's events until they end, which is how the connection's
// end is noticed.
func (c *monitorConn) listen(events <-chan goqemu.Event) {
	for e := range events {
		c.Publish(ownEvent(e))
	}
	_ = c.End(io.EOF)
}

func ownEvent(e goqemu.Event) Event {
	out := Event{Name: e.Event, Time: time.Now()}
	if e.Timestamp.Seconds > 0 {
		out.Time = time.Unix(e.Timestamp.Seconds, e.Timestamp.Microseconds*int64(time.Microsecond))
	}
	if len(e.Data) > 0 {
		out.Data, _ = json.Marshal(e.Data) // came from JSON
	}
	return out
}

// Close also waits for the monitor: for its answer to a command in flight, and for
// the end of its events.
func (c *monitorConn) Close() error {
	_ = c.End(net.ErrClosed)
	// First, because go-libvirt can deadlock when a stream of events is cancelled while
	// events arrive (its issue 191).
	err := c.monitor.Disconnect()
	c.cancel()
	c.listening.Wait()
	_ = c.Relay.Close() // never fails
	if err != nil && lostConnection(err) {
		return nil // it had gone already
	}
	return err
}
