package libvirt

import (
	"context"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// powerPause is between two presses of the power button, which a guest that boots does not
// notice.
const powerPause = 2 * time.Second

// Ladder implements vm.Guest.
func (g *guest) Ladder() []vm.StopStep {
	return []vm.StopStep{
		{Name: "agent", Graceful: true, Run: g.askAgent},
		{Name: "acpi", Graceful: true, Run: g.pressPower},
		{Name: "sigterm", Run: func(ctx context.Context) error { return g.strike(ctx, libvirt.DomainDestroyGraceful) }},
		{Name: "destroy", Run: func(ctx context.Context) error { return g.strike(ctx, libvirt.DomainDestroyDefault) }},
	}
}

// strike ends QEMU around its guest.
func (g *guest) strike(ctx context.Context, flags libvirt.DomainDestroyFlagsValues) error {
	err := g.b.destroy(ctx, g.name, g.domain(), flags)
	if err == nil {
		how := libvirt.DomainEventStoppedDestroyed
		g.recheck(&how) // should the event be lost
	}
	if g.gone() {
		return nil
	}
	return err
}

// askAgent asks the guest's agent to shut the system down, until the guest is gone or ctx ends:
// libvirt waits for the agent's silence after it has asked.
func (g *guest) askAgent(ctx context.Context) error {
	return g.shutdown(ctx, libvirt.DomainShutdownGuestAgent)
}

// pressPower presses the power button until the guest is gone or ctx ends.
func (g *guest) pressPower(ctx context.Context) error {
	ticker := time.NewTicker(powerPause)
	defer ticker.Stop()
	for {
		if err := g.shutdown(ctx, libvirt.DomainShutdownAcpiPowerBtn); err != nil {
			return err
		}
		select {
		case <-g.done:
			return nil
		case <-ctx.Done():
			return nil // asked; whether it was heard shows in Done
		case <-ticker.C:
		}
	}
}

// shutdown asks the guest's system to shut down. One that is halted can't.
func (g *guest) shutdown(ctx context.Context, how libvirt.DomainShutdownFlagValues) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.life, cancel)()
	err := g.b.host.call(ctx, "shut down VM", g.name, func(l *libvirt.Libvirt) error {
		state, _, err := l.DomainGetState(g.domain(), 0)
		if err != nil {
			return err
		}
		if libvirt.DomainState(state) == libvirt.DomainPaused {
			return errors.New("the guest is halted")
		}
		return l.DomainShutdownFlags(g.domain(), how)
	})
	if g.gone() {
		return nil
	}
	return err
}
