package libvirt

// What other parts bring: kept as small as can be until theirs is there.

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	goqemu "github.com/digitalocean/go-qemu/qmp"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

const metadataURI = "https://github.com/maqet/maqet"

func domainXML(spec vm.LaunchSpec) (string, error) {
	return fmt.Sprintf(`<domain type='qemu'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory>
	<metadata><maqet:vm xmlns:maqet='%s'/></metadata>
	<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>`, spec.Config.Name, spec.ID, metadataURI), nil
}

// domainEvent is a lifecycle event of a domain; a gap has kind -1.
type domainEvent struct{ kind, detail int32 }

type subscription struct {
	c     chan domainEvent
	close func()
}

// subscribe follows a domain over a connection of its own.
func (b *Backend) subscribe(ctx context.Context, vm string, id libvirt.UUID) (*subscription, error) {
	c, err := b.host.dial(ctx)
	if err != nil {
		return nil, errors.Wrap(errors.ErrLibvirtConnection, "follow VM", vm, err)
	}
	l := libvirt.NewWithDialer(dialers.NewAlreadyConnected(c))
	if err := l.ConnectToURI(libvirt.ConnectURI(b.host.driverURI())); err != nil {
		return nil, errors.Wrap(errors.ErrLibvirtConnection, "follow VM", vm, err)
	}
	events, err := l.LifecycleEvents(context.Background())
	if err != nil {
		return nil, errors.Wrap(errors.ErrLibvirtConnection, "follow VM", vm, err)
	}
	s := &subscription{c: make(chan domainEvent, 64)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for ev := range events {
			if ev.Dom.UUID == id {
				s.c <- domainEvent{ev.Event, ev.Detail}
			}
		}
	})
	s.close = sync.OnceFunc(func() { _ = c.Close(); <-l.Disconnected(); wg.Wait() })
	return s, nil
}

// Check implements vm.Backend.
func (b *Backend) Check(context.Context, string, vm.Config) error { return nil }

// lifeline is call on the connection that ephemeral guests end with.
func (h *host) lifeline(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	return h.call(ctx, op, vm, fn)
}

type standinMonitor struct {
	b   *Backend
	dom libvirt.Domain
}

func (m standinMonitor) Connect() error    { return nil }
func (m standinMonitor) Disconnect() error { return nil }
func (m standinMonitor) Run(cmd []byte) (out []byte, err error) {
	err = m.b.host.call(context.Background(), "run", m.dom.Name, func(l *libvirt.Libvirt) error {
		s, err := l.QEMUDomainMonitorCommand(m.dom, string(cmd), 0)
		out = json.RawMessage(s)
		return err
	})
	return out, err
}

func (m standinMonitor) Events(context.Context) (<-chan goqemu.Event, error) {
	return nil, goqemu.ErrEventsNotSupported
}
