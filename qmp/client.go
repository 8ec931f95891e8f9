package qmp

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
)

// defaultHandshake bounds a handshake whose context has a later deadline, or none.
const defaultHandshake = 30 * time.Second

// Client is a [Conn] over a socket. Its zero value is not usable; see [NewClient] and
// [Dial]. All methods are safe for concurrent use.
//
// After a connection has ended, Connect takes another one: a Client stands for the
// QEMU, not for one connection. Commands in flight are not repeated. Subscriptions
// end with the connection, unless the client was made with [KeepSubscriptions].
type Client struct {
	opts clientOptions
	hub  *hub
	taps taps

	mu       sync.Mutex
	sess     *session // being made, or in use; nil otherwise
	ready    bool     // sess may be used
	greeting Greeting
	done     chan struct{} // closed while there is no working connection any more
	err      error         // why; nil before the first connection, while one works, and after Disconnect
	again    bool          // there was a connection before: a new one is told by an EventGap
	parting  bool          // Disconnect is under way
	closed   bool
}

var (
	_ FileConn = (*Client)(nil)
	_ Tapper   = (*Client)(nil)
)

// ClientOption changes how [NewClient] and [Dial] make a client.
type ClientOption func(*clientOptions)

type clientOptions struct {
	frameLimit int
	queue      int
	handshake  time.Duration
	keep       bool
	cause      func() error
	binary     string
}

// FrameLimit bounds the size in bytes of a frame that is read or written; a longer
// one from QEMU ends the connection. Default: 64 MiB.
func FrameLimit(bytes int) ClientOption { return func(o *clientOptions) { o.frameLimit = bytes } }

// EventQueue sets how many events are kept for each subscriber that does not read, 2 at
// the least. Default: 8192; memory for them is taken when they come.
func EventQueue(events int) ClientOption { return func(o *clientOptions) { o.queue = max(events, 2) } }

// HandshakeTimeout bounds Connect, beside its context: the shorter one wins.
// Default: 30 s.
// A time that is not positive means the default.
func HandshakeTimeout(d time.Duration) ClientOption {
	return func(o *clientOptions) {
		if d > 0 {
			o.handshake = d
		}
	}
}

// KeepSubscriptions makes subscriptions outlive a lost connection: their channels stay
// open, and once a new Connect has succeeded each gets an [EventGap].
func KeepSubscriptions() ClientOption { return func(o *clientOptions) { o.keep = true } }

// WithCause sets a function that says more about a connection that QEMU's side ended,
// usually how QEMU exited; nil when it knows nothing. Its error is wrapped by the
// connection's. It is called once for each lost connection, before the commands in
// flight return: it may wait for an exit status, but not for long, and must not call
// the client.
func WithCause(fn func() error) ClientOption { return func(o *clientOptions) { o.cause = fn } }

// WithBinary names the QEMU at the other end: clients of the same non-empty name talk to
// the same build, so that a [Manager] asks only one of them what it supports.
func WithBinary(name string) ClientOption { return func(o *clientOptions) { o.binary = name } }

// Greeting is how QEMU introduced itself (QMP specification, "Server Greeting").
type Greeting struct {
	Version      Version
	Capabilities []string // what the monitor offers: "oob"
	// Received is when it came: the moment at which QEMU's main loop began. Its devices
	// are made between this and the end of Connect.
	Received time.Time
}

// Version is a QEMU's version.
type Version struct {
	Major, Minor, Micro int
	Package             string // the distribution's name for it, may be empty
}

// String returns "7.2.22".
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// NewClient returns a client without a connection. Subscriptions can be made at once,
// so that they miss nothing once Connect has given it one.
func NewClient(opts ...ClientOption) *Client {
	o := clientOptions{frameLimit: defaultFrameLimit, queue: defaultQueue, handshake: defaultHandshake}
	for _, opt := range opts {
		opt(&o)
	}
	return &Client{opts: o, hub: newHub(o.queue), done: make(chan struct{})}
}

// Dial connects to a QMP socket, such as ("unix", "/run/vm.sock") or
// ("tcp", "127.0.0.1:4444"), and does the handshake.
func Dial(ctx context.Context, network, address string, opts ...ClientOption) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, errors.Wrap(errors.ErrQMPConnection, "QMP connect to "+address, "", err)
	}
	c := NewClient(opts...)
	if err := c.Connect(ctx, conn); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Connect takes over conn, which, if it is a syscall.Conn, is written to at its descriptor
// and not by its Write, and does the handshake: it reads the greeting and enables
// what the monitor offers. When it fails, conn is closed, the error is
// errors.ErrQMPConnection (with errors.ErrQMPTimeout inside when time ran out) and the
// client is as it was before. Events that come during the handshake are delivered.
func (c *Client) Connect(ctx context.Context, conn net.Conn) error {
	s, err := c.adopt(conn)
	if err != nil {
		_ = conn.Close()
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.opts.handshake)
	defer cancel()
	g, err := c.handshake(limited, s)
	if err == nil {
		err = c.publish(s, g)
	}
	if err != nil {
		s.abort(err)
		s.work.Wait()
		return errors.Wrap(errors.ErrQMPConnection, "QMP handshake", "", err)
	}
	return nil
}

// adopt makes the session for conn, if there is no other.
func (c *Client) adopt(conn net.Conn) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errors.Wrap(errors.ErrQMPConnection, "QMP connect", "", net.ErrClosed)
	case c.sess != nil:
		return nil, &errors.Error{Kind: errors.ErrQMP, Op: "QMP connect", Msg: "the client has a connection already"}
	}
	c.sess = newSession(conn, c.hub, &c.taps, c.opts, c.ended)
	return c.sess, nil
}

func (c *Client) handshake(ctx context.Context, s *session) (Greeting, error) {
	var body *greetingBody
	select {
	case body = <-s.greeting:
	case <-s.done:
		return Greeting{}, s.lost()
	case <-ctx.Done():
		return Greeting{}, &errors.Error{
			Kind: errors.ErrQMPTimeout, Op: "no greeting", Err: ctx.Err(),
			Hint: "is another client connected to this monitor?",
		}
	}
	g := Greeting{Capabilities: body.Capabilities, Received: body.received}
	q := body.Version.QEMU
	g.Version = Version{Major: q.Major, Minor: q.Minor, Micro: q.Micro, Package: body.Version.Package}
	r := request{command: "qmp_capabilities", id: s.hello}
	if slices.Contains(g.Capabilities, "oob") {
		r.args = []byte(`{"enable":["oob"]}`)
	}
	rep, err := s.do(ctx, r, nil)
	_, err = outcome(r.command, rep, err)
	return g, err
}

// publish makes a session that has done its handshake the client's connection.
func (c *Client) publish(s *session, g Greeting) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if err := s.lost(); err != nil {
		return err
	}
	c.ready, c.greeting = true, g
	if c.err != nil {
		c.err, c.done = nil, make(chan struct{})
		c.hub.reopen()
	}
	if c.again { // who subscribed after the loss gets it, too: it can't know
		c.hub.publish(Event{Name: EventGap, Time: time.Now()})
	}
	c.again = true
	return nil
}

// ended is called by a session's reader when its connection has ended.
func (c *Client) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ready := c.ready
	c.sess, c.ready = nil, false
	if parting := c.parting; !ready || parting {
		c.parting = false
		return
	}
	if !c.opts.keep {
		c.hub.end()
	}
	c.err = err
	close(c.done)
}

// Disconnect ends the present connection, if there is one, so that somebody else can
// have the monitor, and waits for its goroutine. Unlike a loss it ends no subscription,
// and Done stays open: the client is as it was before its first Connect, and a new one
// is told by an [EventGap]. Commands in flight fail with errors.ErrQMPConnection.
func (c *Client) Disconnect() {
	c.mu.Lock()
	s := c.sess
	if s == nil || !c.ready || c.closed {
		c.mu.Unlock()
		return
	}
	c.parting = true
	c.mu.Unlock()
	s.abort(errors.New("disconnected"))
	s.work.Wait()
}

// Greeting returns what QEMU said when the present connection, or the last one, was
// made. It is zero before the first.
func (c *Client) Greeting() Greeting {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.greeting
	g.Capabilities = slices.Clone(g.Capabilities)
	return g
}

// Binary returns what [WithBinary] was given.
func (c *Client) Binary() string { return c.opts.binary }

// Tap implements [Tapper].
func (c *Client) Tap(fn func(Frame)) (stop func()) { return c.taps.add(fn) }

// Subscribe implements [Conn]. It works before the first Connect, too.
func (c *Client) Subscribe(names ...string) *Subscription { return c.hub.subscribe(names) }

// Done implements [Conn]. It is open before the first connection, and again after a
// new Connect.
func (c *Client) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// Err implements [Conn]. It is nil before the first connection, too.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close implements [Conn]. It is final, idempotent, and interrupts a Connect.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	s := c.sess
	c.mu.Unlock()
	if s != nil {
		s.abort(net.ErrClosed)
		s.work.Wait()
	}
	c.mu.Lock()
	if c.err == nil { // it never had a connection
		c.err = errors.Wrap(errors.ErrQMPConnection, "", "", net.ErrClosed)
		close(c.done)
	}
	c.mu.Unlock()
	c.hub.close()
	return nil
}
