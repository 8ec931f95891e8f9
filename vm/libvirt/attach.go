package libvirt

import (
	"context"
	"sync"
	"time"

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
// the VM's when it has maqet's metadata. An outage of the host is waited for as long as
// Options.Grace, which begins with the first call that meets it.
func (b *Backend) Attach(ctx context.Context, inst vm.Instance) (vm.Guest, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		g, err := b.attach(ctx, inst)
		if err == nil {
			b.outage.over()
			return g, nil
		}
		if !errors.Is(err, errors.ErrHostUnreachable) {
			b.outage.over()
			return nil, err
		}
		if b.outage.left(b.opts.Grace) < pause {
			return nil, err
		}
		select { // that a host is back is no event
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-b.life.Done():
			return nil, err
		}
	}
}

// outage is one that calls have met which can wait. Its zero value is none.
type outage struct {
	mu    sync.Mutex
	since time.Time
}

// left returns how much of grace is left since the outage was met first.
func (o *outage) left(grace time.Duration) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = time.Now()
	}
	return time.Until(o.since.Add(grace))
}

func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = time.Time{}
}

// attach tries once.
func (b *Backend) attach(ctx context.Context, inst vm.Instance) (*guest, error) {
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
		if rt, err = b.reconstruct(ctx, inst, found.dom); err != nil {
			sub.close()
			return nil, err
		}
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
