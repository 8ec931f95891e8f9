package libvirt

import (
	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

// stopDetail says why a domain stopped, by libvirt's detail of the lifecycle event.
type stopDetail libvirt.DomainEventStoppedDetailType

// known reports whether QEMU is known to have ended in order: it shut down, or libvirt had it do
// so, with SIGTERM at first.
func (d stopDetail) exit() errors.ExitStatus {
	switch libvirt.DomainEventStoppedDetailType(d) {
	case libvirt.DomainEventStoppedCrashed, libvirt.DomainEventStoppedFailed:
		return errors.ExitStatus{}
	}
	return errors.ExitStatus{Known: true}
}

// ended looks whether the guest is gone, and closes Done if so. An event that comes late is one
// of an earlier run.
func (g *guest) ended(d stopDetail) bool {
	now, err := ask(g.life, g.b.host.call, "look at VM", g.name, func(l *libvirt.Libvirt) (libvirt.Domain, error) {
		return l.DomainLookupByUUID(g.domain().UUID)
	})
	if err == nil && now.ID == g.domain().ID || err != nil && !says(err, libvirt.ErrNoDomain) {
		return false
	}
	g.mu.Lock()
	g.exit = d.exit()
	g.mu.Unlock()
	g.b.forget(g)
	close(g.done)
	g.end(errEnded)
	return true
}

var errEnded = errors.New("its guest has ended")
