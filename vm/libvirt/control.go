package libvirt

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// control is a domain's control channel: the monitor that libvirt holds, reached over the
// host's shared connection. It implements qmp.Conn, qmp.Tapper, qmp.Screendumper and
// qmp.DeviceNamer.
//
// A connection to libvirtd that is lost is not the end of the channel: its commands fail
// until there is another one. It ends with the guest, which who watches the domain tells
// by End.
type control struct {
	*qmp.Relay
	host   *host
	domain libvirt.Domain
	vm     string

	bare atomic.Bool // the driver has no monitor

	mu     sync.Mutex
	binary string
}

var (
	_ qmp.Tapper       = (*control)(nil)
	_ qmp.Screendumper = (*control)(nil)
	_ qmp.DeviceNamer  = (*control)(nil)
)

// newControl returns the channel of a domain, over which nothing was said yet.
func newControl(h *host, domain libvirt.Domain, vm string) *control {
	c := &control{host: h, domain: domain, vm: vm}
	c.Relay = qmp.NewRelay(c.carry)
	return c
}

// connect lets commands through once the monitor has answered one. It is idempotent.
func (c *control) connect(ctx context.Context) error {
	reply, err := c.carry(ctx, []byte(`{"execute":"query-version"}`))
	if err != nil && !errors.Is(err, errors.ErrQMPUnsupported) {
		return err
	}
	c.mu.Lock()
	c.binary = c.host.opts.URI + " " + string(reply)
	c.mu.Unlock()
	c.Open()
	return nil
}

// carry is the qmp.Carrier.
func (c *control) carry(ctx context.Context, request []byte) ([]byte, error) {
	if c.bare.Load() {
		return c.imitate(ctx, request)
	}
	// Nothing but ctx bounds it, as nothing does where the monitor is a socket.
	reply, err := ask(ctx, c.host.longCall, "QMP", c.vm, func(l *libvirt.Libvirt) (string, error) {
		return l.QEMUDomainMonitorCommand(c.domain, string(request), 0)
	})
	switch {
	case err == nil:
		return []byte(reply), nil
	case hasCode(err, libvirt.ErrNoSupport):
		c.bare.Store(true)
		return c.imitate(ctx, request)
	}
	return nil, controlError(err)
}

// controlError gives an error of libvirt's about a monitor its kind.
func controlError(err error) error {
	switch {
	case hasCode(err, libvirt.ErrOperationTimeout): // something else has the domain for too long
		return errors.Wrap(errors.ErrQMPTimeout, "", "", err)
	case hasCode(err, libvirt.ErrNoSupport), hasCode(err, libvirt.ErrOperationUnsupported):
		return errors.Wrap(errors.ErrQMPUnsupported, "", "", err)
	case errors.Is(err, context.DeadlineExceeded):
		return errors.Wrap(errors.ErrQMPTimeout, "", "", err)
	}
	return errors.Wrap(errors.ErrQMPConnection, "", "", err)
}

// Binary names the QEMU at the other end: channels with the same name have the same schema.
func (c *control) Binary() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.binary
}

// DeviceID implements qmp.DeviceNamer: a device's ID is its alias.
func (c *control) DeviceID(name string) string { return aliasOf(name) }
