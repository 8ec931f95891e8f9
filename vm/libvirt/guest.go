package libvirt

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// guest is an active domain. It implements vm.Guest.
type guest struct {
	b       *Backend
	name    string
	control *control
	sub     *subscription
	said    bool      // QEMU has said why it shuts down; follow's
	config  vm.Config // what it was launched with
	cards   []guestview.Card

	life context.Context // ends when it is gone, and with Release
	end  context.CancelCauseFunc
	work sync.WaitGroup
	done chan struct{}

	reach chan error                                 // see Reach
	doubt chan *libvirt.DomainEventStoppedDetailType // see recheck; capacity 1

	mu      sync.Mutex
	dom     libvirt.Domain // its ID is that of the run
	open    *channels      // nil before Connect
	runtime vm.Runtime
	exit    errors.ExitStatus
}

var (
	_ vm.Guest       = (*guest)(nil)
	_ vm.DeviceNamer = (*guest)(nil)
	_ vm.Distant     = (*guest)(nil)
)

// newGuest follows an active domain from now on; sub is its own.
func newGuest(b *Backend, name string, rt vm.Runtime, dom libvirt.Domain, sub *subscription) *guest {
	g := &guest{b: b, name: name, runtime: rt, dom: dom, sub: sub, done: make(chan struct{}), reach: make(chan error), doubt: make(chan *libvirt.DomainEventStoppedDetailType, 1)}
	g.life, g.end = context.WithCancelCause(context.Background()) // the guest's life, ended by Release
	g.control = newControl(b.host, dom, name)
	g.work.Go(g.follow)
	g.work.Go(g.watchHost)
	return g
}

// Runtime implements vm.Guest.
func (g *guest) Runtime() vm.Runtime {
	g.mu.Lock()
	defer g.mu.Unlock()
	rt := g.runtime
	rt.Disks, rt.Cards, rt.Boot.Cmdline = slices.Clone(rt.Disks), slices.Clone(rt.Cards), slices.Clone(rt.Boot.Cmdline)
	rt.Forwards, rt.Sockets, rt.Terminals = maps.Clone(rt.Forwards), maps.Clone(rt.Sockets), maps.Clone(rt.Terminals)
	for name, list := range rt.Forwards {
		rt.Forwards[name] = slices.Clone(list)
	}
	return rt
}

func (g *guest) domain() libvirt.Domain {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dom
}

// Connect implements vm.Guest. What the guest prints from now on is in its log.
func (g *guest) Connect(ctx context.Context) error {
	if g.life.Err() != nil {
		return errors.Wrap(errors.ErrQMPConnection, "connect to QEMU", g.name, context.Cause(g.life))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.life, func() { cancel(context.Cause(g.life)) })()
	if err := g.control.connect(ctx); err != nil || g.channels() != nil {
		return err
	}
	forwards, err := g.b.openForwards(ctx, g.domain(), g.name, g.cards)
	if err != nil {
		return err
	}
	found, err := g.b.findPlaces(ctx, g.domain(), g.name, g.config)
	if err != nil {
		return err
	}
	c, err := g.b.openChannels(ctx, g.life, g.name, g.domain(), g.Runtime())
	if err != nil {
		return err
	}
	g.mu.Lock()
	sockets := map[string]string{}
	maps.Copy(sockets, g.runtime.Sockets)
	maps.Copy(sockets, found.sockets)
	g.open, g.runtime.Forwards, g.runtime.Sockets, g.runtime.Terminals = c, forwards, sockets, found.terminals
	g.mu.Unlock()
	if g.life.Err() != nil { // Release may have been before
		c.close()
		return context.Cause(g.life)
	}
	return nil
}

func (g *guest) channels() *channels {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// QMP implements vm.Guest.
func (g *guest) QMP() qmp.Conn { return g.control }

// Dial implements vm.Guest.
func (g *guest) Dial(ctx context.Context, channel string, wait bool) (net.Conn, error) {
	c := g.channels()
	if c == nil {
		return nil, &errors.Error{Kind: errors.ErrAgentUnavailable, Op: "open channel " + channel, VM: g.name, Msg: "it is not connected yet"}
	}
	return c.dial(ctx, channel, wait)
}

// Continue implements vm.Guest.
func (g *guest) Continue(ctx context.Context) error {
	return g.b.host.call(ctx, "resume VM", g.name, func(l *libvirt.Libvirt) error { return l.DomainResume(g.domain()) })
}

// DeviceID implements vm.DeviceNamer.
func (g *guest) DeviceID(name string) string { return aliasOf(name) }

// DeviceName implements vm.DeviceNamer.
func (g *guest) DeviceName(id string) string {
	if name, ours := nameOf(id); ours {
		return name
	}
	return id
}

// Done implements vm.Guest.
func (g *guest) Done() <-chan struct{} { return g.done }

// Exit implements vm.Guest.
func (g *guest) Exit() errors.ExitStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.exit
}

func (g *guest) gone() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// Release implements vm.Guest.
func (g *guest) Release() error {
	g.end(net.ErrClosed)
	g.sub.close()
	if c := g.channels(); c != nil {
		c.close()
	}
	err := g.control.Close()
	g.work.Wait()
	return err
}
