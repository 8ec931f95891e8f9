package libvirtrpc

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
)

// Procedures that register for events, and those that bring them.
const (
	procRegisterAny      = 316
	procLifecycle        = 318
	procReboot           = 319
	procAgentLifecycle   = 348
	procQEMURegister     = 4
	procQEMUMonitorEvent = 6
)

// Kind says what an [Event] tells.
type Kind int

// Kinds of events.
const (
	// KindLifecycle is VIR_DOMAIN_EVENT_ID_LIFECYCLE: see Event.Lifecycle.
	KindLifecycle Kind = iota
	// KindReboot is VIR_DOMAIN_EVENT_ID_REBOOT: the guest was reset.
	KindReboot
	// KindAgent is VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE: see Event.Agent.
	KindAgent
	// KindMonitor is an event of QEMU's monitor: see Event.Monitor.
	KindMonitor
)

// Event is something that has happened to a domain.
type Event struct {
	Domain    libvirt.Domain
	Kind      Kind
	Lifecycle Lifecycle
	Agent     Agent
	Monitor   Monitor
}

// Lifecycle is a change of a domain's state.
type Lifecycle struct {
	Event  libvirt.DomainEventType
	Detail int32 // its meaning depends on Event
}

// Agent is a change of the guest agent's connection.
type Agent struct {
	State  libvirt.ConnectDomainEventAgentLifecycleState
	Reason libvirt.ConnectDomainEventAgentLifecycleReason
}

// Monitor is an event of QEMU's monitor (QMP).
type Monitor struct {
	Name    string
	Seconds int64 // when: since 1970, with Micros
	Micros  uint32
	Details []byte // the event's data in JSON; nil: it has none
}

// Events brings all events of all domains of a host.
type Events struct {
	conn      net.Conn
	r         *reader
	keepalive Keepalive
	pings     int // without an answer

	c    chan Event
	quit chan struct{}
	stop sync.Once
	done chan struct{}
	err  error // set before c is closed
}

// Listen registers for events on conn, which must be a new connection to libvirtd; it belongs to
// the Events from now on, or is closed when there is an error. uri is the driver's, such as
// "qemu:///system". Drivers without QEMU's monitor bring no events of that.
//
// What happens after Listen has returned is told. The Events must be closed.
func Listen(ctx context.Context, conn net.Conn, uri string, keepalive Keepalive) (*Events, error) {
	e := &Events{conn: conn, keepalive: keepalive, c: make(chan Event, 64), quit: make(chan struct{}), done: make(chan struct{})}
	var early []Event
	err := open(ctx, conn, uri, func(c *client) error {
		e.r = c.r
		c.other = func(h header, payload []byte) error {
			event, ok, err := decodeEvent(h, payload)
			if ok {
				early = append(early, event)
			}
			if len(early) > maxEarlyEvents {
				return malformed("%d events before an answer", len(early))
			}
			return err
		}
		return e.register(c)
	})
	if err != nil {
		return nil, err
	}
	go e.run(early)
	return e, nil
}

// maxEarlyEvents bounds how many events are kept that come before Listen returns.
const maxEarlyEvents = 10_000

// register asks for the events, and for pings if they are wanted.
func (e *Events) register(c *client) error {
	for _, id := range []libvirt.DomainEventID{libvirt.DomainEventIDLifecycle, libvirt.DomainEventIDReboot, libvirt.DomainEventIDAgentLifecycle} {
		var args encoder
		args.uint32(uint32(id))
		args.uint32(0) // any domain
		if _, err := c.call(programRemote, procRegisterAny, args); err != nil {
			return fmt.Errorf("register for events %d: %w", id, err)
		}
	}
	var args encoder
	args.uint32(0)    // any domain
	args.optional("") // any event
	args.uint32(0)    // flags
	_, err := c.call(programQEMU, procQEMURegister, args)
	// A driver without a monitor, and a libvirtd without QEMU.
	if err != nil && !refused(err, libvirt.ErrNoSupport, libvirt.ErrRPC) {
		return fmt.Errorf("register for events of the monitor: %w", err)
	}
	if e.keepalive.Interval == 0 {
		return nil
	}
	supported, err := c.supports(featureKeepalive)
	if !supported {
		e.keepalive.Interval = 0
	}
	return err
}

// C returns where the events are. It is closed when the connection is lost or closed: see Err.
// Nothing more is read from libvirtd while nobody takes them.
func (e *Events) C() <-chan Event { return e.c }

// Err returns why no more events come, once C is closed: an error of the network, io.EOF,
// [ErrSilent] or [ErrProtocol]; net.ErrClosed after Close.
func (e *Events) Err() error {
	<-e.done
	return e.err
}

// Close closes the connection, and waits for the end of what reads it. C is closed, though there
// may be events in it.
func (e *Events) Close() error {
	e.stop.Do(func() { close(e.quit) })
	err := e.conn.Close()
	<-e.done
	return err
}

func (e *Events) run(early []Event) {
	defer close(e.c)
	defer close(e.done)
	defer func() { _ = e.conn.Close() }() // it is of no use any more
	for _, event := range early {
		if !e.deliver(event) {
			return
		}
	}
	for {
		h, payload, err := e.receive()
		if err == nil {
			err = e.handle(h, payload)
		}
		if err != nil {
			e.err = err
			break
		}
	}
	select {
	case <-e.quit:
		e.err = net.ErrClosed
	default:
	}
}

// deliver hands an event on; it returns false when nobody wants any more.
func (e *Events) deliver(event Event) bool {
	select {
	case e.c <- event:
		return true
	case <-e.quit:
		e.err = net.ErrClosed
		return false
	}
}

func (e *Events) handle(h header, payload []byte) error {
	if pong := answer(h); pong != nil {
		return e.send(pong)
	}
	if isPong(h) {
		return nil
	}
	event, ok, err := decodeEvent(h, payload)
	if ok && err == nil && !e.deliver(event) {
		return net.ErrClosed
	}
	return err
}

// receive reads a message, and asks for a sign of life while there is none.
func (e *Events) receive() (header, []byte, error) {
	for {
		if e.keepalive.Interval > 0 {
			_ = e.conn.SetReadDeadline(time.Now().Add(e.keepalive.Interval)) // reading tells what is wrong
		}
		h, payload, err := e.r.next()
		if err == nil {
			e.pings = 0
			return h, payload, nil
		}
		if !os.IsTimeout(err) {
			return h, nil, err
		}
		if e.pings >= e.keepalive.Count {
			return h, nil, ErrSilent
		}
		e.pings++
		if err := e.send(keepaliveMessage(procPing)); err != nil {
			return h, nil, err
		}
	}
}

// send sends a message so short that it waits for room only where nobody reads any more.
func (e *Events) send(message []byte) error {
	if e.keepalive.Interval > 0 {
		_ = e.conn.SetWriteDeadline(time.Now().Add(e.keepalive.Interval)) // writing tells what is wrong
	}
	_, err := e.conn.Write(message)
	return err
}

// decodeEvent decodes an event; ok is false if the message is another's.
func decodeEvent(h header, payload []byte) (e Event, ok bool, err error) {
	if h.kind != typeMessage {
		return e, false, unexpected(h, payload)
	}
	d := decoder{rest: payload}
	d.uint32() // callback, of which there is one for each procedure
	e.Domain = d.domain()
	switch {
	case h.program == programRemote && h.procedure == procLifecycle:
		e.Kind = KindLifecycle
		e.Lifecycle = Lifecycle{libvirt.DomainEventType(d.int32()), d.int32()}
	case h.program == programRemote && h.procedure == procReboot:
		e.Kind = KindReboot
	case h.program == programRemote && h.procedure == procAgentLifecycle:
		e.Kind = KindAgent
		e.Agent.State = libvirt.ConnectDomainEventAgentLifecycleState(d.int32())
		e.Agent.Reason = libvirt.ConnectDomainEventAgentLifecycleReason(d.int32())
	case h.program == programQEMU && h.procedure == procQEMUMonitorEvent:
		e.Kind = KindMonitor
		e.Monitor = Monitor{Name: d.string(), Seconds: d.int64(), Micros: d.uint32(), Details: d.optional()}
	default:
		return Event{}, false, nil
	}
	if err := d.end(); err != nil {
		return Event{}, false, fmt.Errorf("an event: %w", err)
	}
	return e, true, nil
}
