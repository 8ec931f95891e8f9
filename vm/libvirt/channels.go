package libvirt

import (
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/libvirtrpc"
	"github.com/maqet/maqet/vm"
)

// channels are a live domain's channels and its console, each of which has one user at a time on
// all hosts together. Users on this one wait for each other by a lock file.
type channels struct {
	b     *Backend
	vm    string
	dom   libvirt.Domain
	dir   string
	ports map[string]string // Runtime.Sockets: the name in the guest of each channel

	life   context.Context // of the guest here
	mirror *consoleMirror  // nil: it has no console
	hints  *subscription   // the mirror's

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// channelPorts returns Runtime.Sockets: the name in the guest of each channel that a guest has.
func channelPorts(spec vm.LaunchSpec) map[string]string {
	ports := make(map[string]string)
	for _, p := range guestview.Ports(spec) {
		ports[p.Channel] = p.Name
	}
	return ports
}

// channelLocks returns the names of the lock files in a VM's folder.
func channelLocks() []string {
	var names []string
	for _, channel := range []string{vm.ChannelAgent, vm.ChannelStream0, vm.ChannelStream1} {
		names = append(names, channelLock(channel))
	}
	return names
}

func channelLock(channel string) string { return channel + ".lock" }

// openChannels begins to keep the console in rt.Console if the guest has one, so that nothing is
// lost that it prints from now on; see [consoleMirror]. life ends with the guest, or when it is
// let go of; then close must be called.
func (b *Backend) openChannels(ctx, life context.Context, name string, dom libvirt.Domain, rt vm.Runtime) (*channels, error) {
	c := &channels{b: b, vm: name, dom: dom, dir: b.logDir(uuid.UUID(dom.UUID).String()), ports: rt.Sockets, life: life, conns: make(map[net.Conn]struct{})}
	if rt.Console == "" {
		return c, nil
	}
	var err error
	if c.hints, err = b.events.subscribe(ctx, name, dom.UUID, 0, libvirtrpc.KindLifecycle); err != nil {
		return nil, err
	}
	c.mirror = newConsoleMirror(name, rt.Console, c.openConsole, c.hints.gap, b.log)
	err = c.mirror.start(ctx)
	if err == nil {
		return c, nil
	}
	c.hints.close()
	if c.mirror = nil; hasCode(err, libvirt.ErrNoSupport) { // the test driver has no consoles
		return c, nil
	}
	return nil, err
}

func (c *channels) openConsole(ctx context.Context) (net.Conn, error) {
	conn, err := c.b.host.dial(ctx)
	if err != nil {
		return nil, err
	}
	return libvirtrpc.OpenConsole(ctx, conn, c.b.host.driverURI(), c.dom, "", 0)
}

// drainTime bounds drain, for the case that the process that keeps the console hangs.
const drainTime = 5 * time.Second

// drain is told that the guest is gone. It returns when all that it has printed is in the
// console's file.
func (c *channels) drain() {
	if c.mirror == nil {
		return
	}
	late := time.NewTimer(drainTime)
	defer late.Stop()
	select {
	case <-c.mirror.drain():
	case <-late.C:
		c.b.log.Warn("the console's last words may be missing", "vm", c.vm)
	case <-c.life.Done(): // nobody waits for them
	}
}

// close closes all connections, and waits for what used them. life has ended.
func (c *channels) close() {
	c.mu.Lock()
	conns := slices.Collect(maps.Keys(c.conns))
	c.mu.Unlock()
	var closing sync.WaitGroup
	for _, conn := range conns { // each waits for libvirtd for a while
		closing.Go(func() { _ = conn.Close() }) // nobody is there whom it could be told
	}
	defer closing.Wait()
	if c.mirror != nil {
		c.hints.close()
		c.mirror.close()
	}
}

// dial is vm.Guest's Dial.
func (c *channels) dial(ctx context.Context, name string, wait bool) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(context.Cause(c.life)) })()
	conn, err := c.open(ctx, name, wait)
	if err == nil {
		err = c.keep(conn)
	}
	if err != nil {
		return nil, errors.Wrap(errors.ErrAgentUnavailable, "open channel "+name, c.vm, err)
	}
	return conn, nil
}

func (c *channels) open(ctx context.Context, name string, wait bool) (net.Conn, error) {
	port, ok := c.ports[name]
	switch {
	case name == vm.ChannelConsole && c.mirror != nil:
		conn, err := c.mirror.dial(ctx, wait)
		if err != nil {
			return nil, err
		}
		return &channel{Conn: conn, channels: c}, nil
	case !ok:
		return nil, errors.New("the guest has no such channel")
	}
	lock, err := c.lock(ctx, name, wait)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if name == vm.ChannelAgent {
		conn, err = c.openAgent(ctx)
	} else {
		conn, err = c.openStream(ctx, port, wait)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return &channel{Conn: conn, channels: c, lock: lock}, nil
}

// lock waits for the other users of this host.
func (c *channels) lock(ctx context.Context, name string, wait bool) (*flock.Lock, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(c.dir, channelLock(name))
	lock, err := flock.Try(path)
	if !errors.Is(err, flock.ErrHeld) {
		return lock, err
	}
	if !wait {
		return nil, errors.New("somebody else uses it")
	}
	if lock, err = flock.Wait(ctx, path); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return lock, err
}

// Pauses before a channel is tried again that a user on another host has: libvirt does not tell
// when they leave.
const (
	channelPause    = 100 * time.Millisecond
	channelPauseMax = 2 * time.Second
)

func (c *channels) openStream(ctx context.Context, port string, wait bool) (net.Conn, error) {
	for pause := channelPause; ; pause = min(2*pause, channelPauseMax) {
		conn, err := c.b.host.dial(ctx)
		if err == nil {
			conn, err = libvirtrpc.OpenChannel(ctx, conn, c.b.host.driverURI(), c.dom, port, 0)
		}
		if err == nil || !wait || !busy(err) {
			return conn, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// busy reports whether libvirt says that somebody else uses a console or a channel. It has no
// error of its own for that: virDomainOpenConsole and virDomainOpenChannel fail so for no other
// reason.
func busy(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && e.Code == uint32(libvirt.ErrOperationFailed)
}

// keep makes close close conn.
func (c *channels) keep(conn net.Conn) error {
	c.mu.Lock()
	c.conns[conn] = struct{}{}
	c.mu.Unlock()
	if c.life.Err() == nil {
		return nil
	}
	// close may have been before.
	return errors.Join(context.Cause(c.life), conn.Close())
}

// channel is a connection to a channel, with its lock.
type channel struct {
	net.Conn
	channels *channels
	lock     *flock.Lock // nil: there is none
	once     sync.Once
	err      error
}

// Close closes the connection and lets the next user in. It is idempotent.
func (c *channel) Close() error {
	c.once.Do(func() {
		c.err = errors.Join(c.Conn.Close(), c.lock.Unlock())
		c.channels.mu.Lock()
		defer c.channels.mu.Unlock()
		delete(c.channels.conns, c)
	})
	return c.err
}
