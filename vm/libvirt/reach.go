package libvirt

import (
	"time"

	"github.com/digitalocean/go-libvirt"
)

// Reach implements vm.Distant. It tells an outage that has lasted for Options.Grace.
func (g *guest) Reach() <-chan error { return g.reach }

// watchHost follows whether the host answers.
func (g *guest) watchHost() {
	states, stop := g.b.host.reach.subscribe()
	defer stop()
	grace := time.NewTimer(g.b.opts.Grace)
	grace.Stop()
	defer grace.Stop()
	var cause error        // of the present outage; nil: there is none
	var verdict, got error // what the other side is to know, and knows
	for {
		var tell chan<- error
		if (verdict == nil) != (got == nil) {
			tell = g.reach
		}
		select {
		case <-g.life.Done():
			return
		case tell <- verdict:
			got = verdict
		case <-grace.C:
			verdict = cause
		case s := <-states:
			switch {
			case s.err == nil:
				grace.Stop()
				verdict = nil
				g.recheck(nil)
			case cause == nil:
				grace.Reset(time.Until(s.since.Add(g.b.opts.Grace)))
			}
			cause = s.err
		}
	}
}

// recheck has the guest looked at soon: it may be gone, for the reason that is given.
func (g *guest) recheck(how *libvirt.DomainEventStoppedDetailType) {
	select {
	case g.doubt <- how:
	default: // it will be
	}
}
