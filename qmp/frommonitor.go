package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

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
	c := &monitorConn{
		monitor: m,
		cancel:  cancel,
		hub:     newHub(defaultQueue),
		turn:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	if events != nil {
		c.work.Go(func() { c.listen(events) })
	}
	return c, nil
}

type monitorConn struct {
	monitor goqemu.Monitor
	cancel  context.CancelFunc // ends the monitor's events
	hub     *hub
	taps    taps
	turn    chan struct{} // held while the monitor runs a command
	work    sync.WaitGroup

	mu   sync.Mutex
	err  error
	done chan struct{} // closed once err is set
}

var _ Tapper = (*monitorConn)(nil)

// Tap implements [Tapper]. Events come without their wire form: it is made anew.
func (c *monitorConn) Tap(fn func(Frame)) (stop func()) { return c.taps.add(fn) }

func (c *monitorConn) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	r, err := newRequest(command, args)
	if err != nil {
		return nil, err
	}
	finish := func(rep reply, err error) (json.RawMessage, error) { return outcome(command, rep, err) }
	if err := ctx.Err(); err != nil {
		return finish(reply{}, err)
	}
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return finish(reply{}, ctx.Err())
	case <-c.done:
		return finish(reply{}, c.Err())
	}
	answer := make(chan result, 1)
	if !c.start(r, answer) {
		<-c.turn
		return finish(reply{}, c.Err())
	}
	select {
	case res := <-answer:
		return finish(res.reply, res.err)
	case <-ctx.Done():
		return finish(reply{}, ctx.Err())
	case <-c.done:
		return finish(reply{}, c.Err())
	}
}

type result struct {
	reply reply
	err   error
}

// start runs a command in a goroutine that gives the turn back. It returns false when
// the connection has ended.
func (c *monitorConn) start(r request, answer chan<- result) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.work.Go(func() {
		rep, err := c.run(r)
		<-c.turn
		answer <- result{rep, err}
	})
	return true
}

func (c *monitorConn) run(r request) (reply, error) {
	// It has no id: libvirt puts in its own and refuses one that has another.
	request := asciiJSON(r.append(nil))
	c.taps.show(Frame{Sent: true, Data: request})
	out, err := c.monitor.Run(request)
	if err != nil {
		c.taps.show(Frame{Data: []byte("# " + err.Error()), Command: r.command})
		return c.failed(err)
	}
	c.taps.show(Frame{Data: out, Command: r.command})
	var m message
	if err := m.parse(out); err != nil {
		return reply{err: &errorBody{Class: "GenericError", Desc: err.Error()}}, nil
	}
	return reply{result: m.Return, err: m.Error}, nil
}

// asciiJSON escapes what is not ASCII, which in JSON stands only in strings. libvirt 11
// refuses commands with other UTF-8 ("failed to parse JSON: invalid utf-8 string").
func asciiJSON(text []byte) []byte {
	if !slices.ContainsFunc(text, func(b byte) bool { return b >= utf8.RuneSelf }) {
		return text
	}
	out := make([]byte, 0, 2*len(text))
	for _, r := range string(text) {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

// listen hands out the monitor's events until they end, which is how the connection's
// end is noticed.
func (c *monitorConn) listen(events <-chan goqemu.Event) {
	for e := range events {
		if c.taps.any() {
			if frame, err := json.Marshal(e); err == nil {
				c.taps.show(Frame{Data: frame})
			}
		}
		c.hub.publish(ownEvent(e))
	}
	_ = c.lose(io.EOF)
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

// lose makes err the sticky error, unless there is one, and returns that.
func (c *monitorConn) lose(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = errors.Wrap(errors.ErrQMPConnection, "", "", err)
		c.hub.end()
		close(c.done)
	}
	return c.err
}

func (c *monitorConn) Subscribe(names ...string) *Subscription { return c.hub.subscribe(names) }

func (c *monitorConn) Done() <-chan struct{} { return c.done }

func (c *monitorConn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close also waits for the monitor: for its answer to a command in flight, and for
// the end of its events.
func (c *monitorConn) Close() error {
	_ = c.lose(net.ErrClosed)
	// First, because go-libvirt can deadlock when a stream of events is cancelled while
	// events arrive (its issue 191).
	err := c.monitor.Disconnect()
	c.cancel()
	c.work.Wait()
	c.hub.close()
	if err != nil && lostConnection(err) {
		return nil // it had gone already
	}
	return err
}
