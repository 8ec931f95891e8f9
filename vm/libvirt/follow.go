package libvirt

import (
	"encoding/json"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
	"github.com/maqet/maqet/qmp"
)

// eventQueue is how many events of a domain may wait. Each of them takes the guest's watcher a
// write to the store at most.
const eventQueue = 256

// follow hands the domain's events on, and notices its end.
func (g *guest) follow() {
	for {
		select {
		case <-g.life.Done():
			return
		case ev := <-g.sub.c:
			g.event(ev)
		case <-g.sub.gap:
			g.drain()
			g.control.Publish(qmp.Event{Name: qmp.EventGap, Time: time.Now()})
			g.look(nil)
		case how := <-g.doubt:
			g.drain()
			g.look(how)
		}
	}
}

// drain handles the events that were told before some were lost.
func (g *guest) drain() {
	for {
		select {
		case ev := <-g.sub.c:
			g.event(ev)
		default:
			return
		}
	}
}

func (g *guest) event(ev libvirtrpc.Event) {
	switch ev.Kind {
	case libvirtrpc.KindMonitor:
		if ev.Monitor.Name == "SHUTDOWN" {
			if g.said { // libvirt ends a QEMU that has shut down with SIGTERM, which is no reason
				return
			}
			g.said = true
		}
		g.control.Publish(monitorEvent(ev.Monitor))
	case libvirtrpc.KindLifecycle:
		if ev.Lifecycle.Event != libvirt.DomainEventStopped {
			g.control.tell(ev.Lifecycle.Event, time.Now())
			return
		}
		how := libvirt.DomainEventStoppedDetailType(ev.Lifecycle.Detail)
		if how == libvirt.DomainEventStoppedFromSnapshot {
			g.outlast()
		}
		g.look(&how)
	}
}

// look finds out whether the guest is gone, and ends it here if so; how is what an event says of
// its end. An event alone does not count: it can be of an earlier run. Only where nobody can be
// asked it does.
func (g *guest) look(how *libvirt.DomainEventStoppedDetailType) {
	if g.gone() {
		return
	}
	run := g.domain()
	now, err := ask(g.life, g.b.host.call, "look at VM", g.name, func(l *libvirt.Libvirt) (libvirt.Domain, error) {
		return l.DomainLookupByUUID(run.UUID)
	})
	switch {
	case err == nil && now.ID == run.ID:
		return
	case err == nil && now.ID != notActive && how != nil && *how == libvirt.DomainEventStoppedFromSnapshot:
		g.renewed(now)
		return
	case err == nil && now.ID == notActive && how == nil:
		how = g.lastState(run)
	case err != nil && !hasCode(err, libvirt.ErrNoDomain) && how == nil:
		g.b.log.Debug("nothing known of the domain", "vm", g.name, "error", err)
		return
	}
	g.ended(how)
}

// outlast returns when a revert to a snapshot is over, which ends QEMU and begins another. It
// asks for something that libvirt does not do meanwhile; what comes of it does not count.
func (g *guest) outlast() {
	_ = g.b.host.call(g.life, "wait for VM", g.name, func(l *libvirt.Libvirt) error {
		_, err := l.QEMUDomainMonitorCommand(g.domain(), `{"execute":"query-status"}`, 0)
		return err
	})
}

// renewed goes on with the QEMU that a revert to a snapshot has begun.
func (g *guest) renewed(dom libvirt.Domain) {
	g.mu.Lock()
	g.dom, g.said = dom, false
	g.mu.Unlock()
	g.control.Publish(qmp.Event{Name: qmp.EventGap, Time: time.Now()})
}

// shutoff has the detail of the event for what a domain that was found off says of its end.
var shutoff = map[libvirt.DomainShutoffReason]libvirt.DomainEventStoppedDetailType{
	libvirt.DomainShutoffShutdown:     libvirt.DomainEventStoppedShutdown,
	libvirt.DomainShutoffDestroyed:    libvirt.DomainEventStoppedDestroyed,
	libvirt.DomainShutoffCrashed:      libvirt.DomainEventStoppedCrashed,
	libvirt.DomainShutoffMigrated:     libvirt.DomainEventStoppedMigrated,
	libvirt.DomainShutoffSaved:        libvirt.DomainEventStoppedSaved,
	libvirt.DomainShutoffFailed:       libvirt.DomainEventStoppedFailed,
	libvirt.DomainShutoffFromSnapshot: libvirt.DomainEventStoppedFromSnapshot,
}

// lastState asks why a domain is off; nil where that is not known, as after a restart of libvirtd.
func (g *guest) lastState(dom libvirt.Domain) *libvirt.DomainEventStoppedDetailType {
	reason, err := ask(g.life, g.b.host.call, "look at VM", g.name, func(l *libvirt.Libvirt) (int32, error) {
		_, reason, err := l.DomainGetState(dom, 0)
		return reason, err
	})
	how, known := shutoff[libvirt.DomainShutoffReason(reason)]
	if err != nil || !known {
		return nil
	}
	return &how
}

// ended ends the guest here. Where QEMU did not say itself why it shut down, it is told what
// libvirt knows.
func (g *guest) ended(how *libvirt.DomainEventStoppedDetailType) {
	var exit errors.ExitStatus
	word := ""
	if how != nil {
		exit, word = ending(*how)
	}
	if word != "" && !g.said {
		data, _ := json.Marshal(shutdown{Guest: word == "guest-shutdown", Reason: word}) // can't fail
		g.control.Publish(qmp.Event{Name: "SHUTDOWN", Time: time.Now(), Data: data})
	}
	_ = g.control.End(errEnded) // returns it
	g.mu.Lock()
	g.exit = exit
	g.mu.Unlock()
	if c := g.channels(); c != nil {
		c.drain()
	}
	close(g.done)
	g.b.forget(g)
	g.end(errEnded)
}

var errEnded = errors.New("its guest has ended")

// shutdown is the data of QEMU's event SHUTDOWN (QEMU QMP Reference Manual).
type shutdown struct {
	Guest  bool   `json:"guest"`
	Reason string `json:"reason"`
}

// ending says how QEMU ended, and by which reason of its own for a shutdown; empty: by none,
// it broke down. libvirt destroys with SIGTERM at first, by which QEMU ends in order.
func ending(how libvirt.DomainEventStoppedDetailType) (exit errors.ExitStatus, word string) {
	switch how {
	case libvirt.DomainEventStoppedCrashed, libvirt.DomainEventStoppedFailed:
		return errors.ExitStatus{}, ""
	case libvirt.DomainEventStoppedShutdown:
		return errors.ExitStatus{Known: true}, "guest-shutdown"
	case libvirt.DomainEventStoppedSaved:
		return errors.ExitStatus{Known: true}, "saved"
	case libvirt.DomainEventStoppedMigrated:
		return errors.ExitStatus{Known: true}, "migrated"
	}
	return errors.ExitStatus{Known: true}, "host-signal"
}
