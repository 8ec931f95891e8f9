package libvirt

import (
	"context"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
	goqemu "github.com/digitalocean/go-qemu/qmp"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
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
// bounds a command but Disconnect, and the end of a libvirtd that hangs, as the interface
// has no contexts. A VM whose domain does not run is errors.ErrVMNotRunning.
func (b *Backend) Monitor(ctx context.Context, inst vm.Instance) (goqemu.Monitor, error) {
	const op = "connect to the monitor"
	id, err := domainUUID(inst.ID, inst.Name)
	if err != nil {
		return nil, err
	}
	sub, err := b.events.subscribe(ctx, inst.Name, id, eventQueue, libvirtrpc.KindMonitor, libvirtrpc.KindLifecycle)
	if err != nil {
		return nil, err
	}
	run, err := b.find(ctx, inst.ID, inst.Name)
	if err == nil && !run.active() {
		err = &errors.Error{Kind: errors.ErrVMNotRunning, Op: op, VM: inst.Name, Msg: "no domain of it runs on " + b.opts.URI}
	}
	if err != nil {
		sub.close()
		return nil, err
	}
	m := &followed{control: newControl(b.host, run.dom, inst.Name), sub: sub}
	m.life, m.stop = context.WithCancel(context.Background()) // ended by Close
	m.work.Go(m.follow)
	if err := m.connect(ctx); err != nil {
		return nil, errors.Join(errors.Wrap(errors.KindOf(err), op, inst.Name, err), m.Close())
	}
	return qmp.AsMonitor(m), nil
}

// followed is a control channel that follows its domain itself.
type followed struct {
	*control
	sub  *subscription
	life context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup
}

// Close implements qmp.Conn.
func (m *followed) Close() error {
	m.stop()
	m.sub.close()
	err := m.control.Close()
	m.work.Wait()
	return err
}

// follow publishes the domain's events until it is gone, or Close.
func (m *followed) follow() {
	for {
		select {
		case <-m.Done():
			return
		case ev := <-m.sub.c:
			switch {
			case ev.Kind == libvirtrpc.KindMonitor:
				m.Publish(monitorEvent(ev.Monitor))
			case ev.Lifecycle.Event == libvirt.DomainEventStopped:
				m.look()
			default:
				m.tell(ev.Lifecycle.Event, time.Now())
			}
		case <-m.sub.gap:
			m.Publish(qmp.Event{Name: qmp.EventGap, Time: time.Now()})
			m.look()
		}
	}
}

// look ends the channel if the domain does not run any more.
func (m *followed) look() {
	now, err := ask(m.life, m.host.call, "look at VM", m.vm, func(l *libvirt.Libvirt) (libvirt.Domain, error) {
		return l.DomainLookupByUUID(m.domain.UUID)
	})
	if err == nil && now.ID != m.domain.ID || hasCode(err, libvirt.ErrNoDomain) {
		_ = m.End(errEnded) // returns it
	}
}

// monitorEvent is an event as package qmp has it.
func monitorEvent(e libvirtrpc.Monitor) qmp.Event {
	at := time.Unix(e.Seconds, int64(e.Micros)*int64(time.Microsecond))
	return qmp.Event{Name: e.Name, Time: at, Data: e.Details}
}
