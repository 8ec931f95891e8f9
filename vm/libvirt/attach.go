package libvirt

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// Runs implements vm.Surveyor.
func (b *Backend) Runs(ctx context.Context, inst vm.Instance) (bool, error) {
	found, err := b.find(ctx, inst.ID, inst.Name)
	return err == nil && found.active() && found.ours, err
}

// Attach implements vm.Backend. The domain is found by its UUID, whatever its name is now, and is
// the VM's when it has maqet's metadata.
func (b *Backend) Attach(ctx context.Context, inst vm.Instance) (_ vm.Guest, err error) {
	const op = "attach to VM"
	id, err := domainUUID(inst.ID, inst.Name)
	if err != nil {
		return nil, err
	}
	sub, err := b.events.subscribe(ctx, inst.Name, id, eventQueue) // first: its end can come at any time
	if err != nil {
		return nil, err
	}
	found, err := b.find(ctx, inst.ID, inst.Name)
	if err != nil || !found.active() || !found.ours {
		sub.close()
		if err == nil {
			err = &errors.Error{Kind: errors.ErrVMNotRunning, Op: op, VM: inst.Name, Msg: "no domain of it runs on " + b.opts.URI}
		}
		return nil, err
	}
	rt := inst.Runtime
	if rt.Backend == "" { // its owner died before it could record it
		rt = b.reconstruct(ctx, inst, found)
	}
	rt.Exit, rt.Backend = nil, b.opts.Name
	g := newGuest(b, inst.Name, rt, found.dom, sub)
	g.config, g.cards = inst.Config, guestview.Cards(inst.Config, inst.Unplugged)
	if err := g.Connect(ctx); err != nil {
		gone := g.gone()
		if again, lookErr := b.find(ctx, inst.ID, inst.Name); lookErr == nil && !again.active() {
			gone = true // meanwhile, and not told yet
		}
		err = errors.Join(err, g.Release())
		if gone {
			err = errors.Wrap(errors.ErrVMNotRunning, op, inst.Name, err)
		}
		return nil, err
	}
	return g, nil
}

// reconstruct makes the record that the owner did not live to make.
func (b *Backend) reconstruct(ctx context.Context, inst vm.Instance, found *found) vm.Runtime {
	spec := vm.LaunchSpec{ID: inst.ID, Config: inst.Config, Plugged: inst.Plugged, Unplugged: inst.Unplugged,
		Boot: vm.BootFiles{Default: found.byInit}}
	rt := vm.Runtime{Boot: spec.Boot, Cards: guestview.CardRecords(inst.Config, inst.Unplugged, inst.ID)}
	if f, err := b.host.facts(ctx, inst.Config); err == nil { // else it stays unknown
		rt.Accel, rt.Machine = f.accel(), f.machine
	}
	b.complete(&rt, spec)
	return rt
}
