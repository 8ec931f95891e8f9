package libvirt

import (
	"context"

	"github.com/digitalocean/go-libvirt"
	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// Monitor returns a go-qemu Monitor of a VM's domain, for programs that are written
// against that interface: it takes the place of go-qemu's LibvirtRPCMonitor. It is
// connected already. Unlike that one it
//
//   - shares the Backend's connection, of whatever URI that is, and goes on over the next
//     one when it is lost; each command is one call instead of two,
//   - returns QEMU's errors as *errors.QMPError, with their class,
//   - delivers events without data, such as STOP and RESUME,
//   - can be used by many goroutines.
//
// Its Disconnect lets go of the domain, which runs on; the caller must call it. Nothing
// bounds a command but Options.Timeout, as the interface has no contexts. A VM whose
// domain does not run is errors.ErrVMNotRunning.
func (b *Backend) Monitor(ctx context.Context, inst vm.Instance) (goqemu.Monitor, error) {
	const op = "connect to the monitor"
	id, err := uuid.Parse(inst.ID)
	if err != nil {
		return nil, errors.Wrap(errors.ErrInvalidConfiguration, op, inst.Name, err)
	}
	answer := make(chan libvirt.Domain, 1)
	err = b.host.call(ctx, op, inst.Name, func(l *libvirt.Libvirt) error {
		d, err := l.DomainLookupByUUID(libvirt.UUID(id))
		answer <- d
		return err
	})
	if hasCode(err, libvirt.ErrNoDomain) {
		return nil, errors.Wrap(errors.ErrVMNotRunning, op, inst.Name, err)
	}
	if err != nil {
		return nil, err
	}
	c := newControl(b.host, <-answer, inst.Name)
	if err := c.connect(ctx); err != nil {
		return nil, errors.Join(errors.Wrap(errors.KindOf(err), op, inst.Name, err), c.Close())
	}
	return qmp.AsMonitor(c), nil
}
