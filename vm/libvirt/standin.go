package libvirt

// What other parts bring: kept as small as can be until theirs is there.

import (
	"context"
	"fmt"
	"time"

	"github.com/digitalocean/go-libvirt"

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

// Check implements vm.Backend.
func (b *Backend) Check(context.Context, string, vm.Config) error { return nil }

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
