package libvirt

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// guest is an active domain. It implements vm.Guest.
type guest struct {
	b       *Backend
	name    string
	control *control
	sub     *subscription
	said    bool // QEMU has said why it shuts down; follow's

	life context.Context // ends when it is gone, and with Release
	end  context.CancelCauseFunc
	work sync.WaitGroup
	done chan struct{}

	mu      sync.Mutex
	dom     libvirt.Domain // its ID is that of the run
	runtime vm.Runtime
	exit    errors.ExitStatus
}

var _ vm.Guest = (*guest)(nil)

// newGuest follows an active domain from now on; sub is its own.
func newGuest(b *Backend, name string, rt vm.Runtime, dom libvirt.Domain, sub *subscription) *guest {
	g := &guest{b: b, name: name, runtime: rt, dom: dom, sub: sub, done: make(chan struct{})}
	g.life, g.end = context.WithCancelCause(context.Background()) // the guest's life, ended by Release
	g.control = newControl(b.host, dom, name)
	g.work.Go(g.follow)
	return g
}

// Runtime implements vm.Guest.
func (g *guest) Runtime() vm.Runtime {
	g.mu.Lock()
	defer g.mu.Unlock()
	rt := g.runtime
	rt.Disks, rt.Cards, rt.Boot.Cmdline = slices.Clone(rt.Disks), slices.Clone(rt.Cards), slices.Clone(rt.Boot.Cmdline)
	rt.Forwards = maps.Clone(rt.Forwards)
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

// Connect implements vm.Guest.
func (g *guest) Connect(ctx context.Context) error {
	if g.life.Err() != nil {
		return errors.Wrap(errors.ErrQMPConnection, "connect to QEMU", g.name, context.Cause(g.life))
	}
	return g.control.connect(ctx)
}

// QMP implements vm.Guest.
func (g *guest) QMP() qmp.Conn { return g.control }

// Dial implements vm.Guest.
func (g *guest) Dial(context.Context, string, bool) (net.Conn, error) {
	return nil, errors.New("not there yet")
}

// Continue implements vm.Guest.
func (g *guest) Continue(ctx context.Context) error {
	return g.b.host.call(ctx, "resume VM", g.name, func(l *libvirt.Libvirt) error { return l.DomainResume(g.domain()) })
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
	err := g.control.Close()
	g.work.Wait()
	return err
}
