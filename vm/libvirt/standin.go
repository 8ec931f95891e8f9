package libvirt

// What other parts bring: kept as small as can be until theirs is there.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

const metadataURI = "https://github.com/maqet/maqet"

func domainXML(spec vm.LaunchSpec) (string, error) {
	kind := "qemu"
	return fmt.Sprintf(`<domain type='%s'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory>
	<metadata><maqet:vm xmlns:maqet='%s'/></metadata>
	<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>`, kind, spec.Config.Name, spec.ID, metadataURI), nil
}

type eventHub struct {
	dial func(context.Context) (net.Conn, error)
	uri  func() string // the driver's
}

func newEventHub(dial func(context.Context) (net.Conn, error), uri func() string, _ *slog.Logger) *eventHub {
	return &eventHub{dial, uri}
}

func (h *eventHub) close() {}

type subscription struct {
	c     chan libvirtrpc.Event
	gap   chan struct{}
	close func()
}

// subscribe follows a domain over a connection of its own.
func (h *eventHub) subscribe(ctx context.Context, vm string, id libvirt.UUID, queue int, _ ...libvirtrpc.Kind) (*subscription, error) {
	c, err := h.dial(ctx)
	if err != nil {
		return nil, errors.Wrap(errors.ErrLibvirtConnection, "follow VM", vm, err)
	}
	l, err := libvirtrpc.Listen(ctx, c, h.uri(), libvirtrpc.Keepalive{})
	if err != nil {
		return nil, errors.Wrap(errors.ErrLibvirtConnection, "follow VM", vm, err)
	}
	s := &subscription{c: make(chan libvirtrpc.Event, queue), gap: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for ev := range l.C() {
			if ev.Domain.UUID == id {
				s.c <- ev
			}
		}
		s.gap <- struct{}{}
	})
	s.close = sync.OnceFunc(func() { _ = l.Close(); wg.Wait() })
	return s, nil
}

// Check implements vm.Backend.
func (b *Backend) Check(context.Context, string, vm.Config) error { return nil }

// lifeline is call on the connection that ephemeral guests end with.
func (h *host) lifeline(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error {
	return h.call(ctx, op, vm, fn)
}

type control struct{ *qmp.Relay }

func newControl(h *host, dom libvirt.Domain, vm string) *control {
	return &control{qmp.NewRelay(func(ctx context.Context, request []byte) ([]byte, error) {
		s, err := ask(ctx, h.call, "QMP", vm, func(l *libvirt.Libvirt) (string, error) {
			return l.QEMUDomainMonitorCommand(dom, string(request), 0)
		})
		return []byte(s), err
	})}
}

func (c *control) connect(context.Context) error { c.Open(); return nil }

func (c *control) tell(what libvirt.DomainEventType, detail int32, at time.Time) {}
