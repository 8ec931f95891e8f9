package libvirt

import (
	"context"

	"slices"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// described is a guest as libvirt is told of it.
type described struct {
	// xml may have the password of a display: it must not be logged.
	xml     string
	runtime vm.Runtime
	cards   []guestview.Card
	flags   libvirt.DomainCreateFlags // for the start of an ephemeral guest
}

// describe makes the description of a guest, whose files are on its host by now, and what it
// refers to: texts in files, keys. undo takes those back.
func (b *Backend) describe(ctx context.Context, spec vm.LaunchSpec) (d described, undo func(context.Context) error, err error) {
	f, err := b.host.facts(ctx, spec.Config)
	if err != nil {
		return d, nil, err
	}
	cards := guestview.Cards(spec.Config, spec.Unplugged)
	if f.sameHost {
		if err := guestview.CheckForwards(ctx, cards); err != nil {
			return d, nil, err
		}
	}
	// First without what is made here: so there is nothing to take back of a guest that can't be.
	if _, err := domainOf(spec, f.rehearsing(spec.Config)); err != nil {
		return d, nil, err
	}
	if f.blobs, err = b.writeBlobs(ctx, spec); err != nil {
		return d, nil, err
	}
	undoBlobs := func(ctx context.Context) error { return b.removeBlobs(ctx, spec.ID, spec.Config) }
	undoSecrets, err := b.lendSecrets(ctx, spec)
	if err != nil {
		return d, nil, errors.Join(err, undoBlobs(context.WithoutCancel(ctx)))
	}
	undo = func(ctx context.Context) error { return errors.Join(undoSecrets(ctx), undoBlobs(ctx)) }
	dom, err := domainOf(spec, f)
	if err == nil {
		d.xml, err = dom.Marshal()
	}
	if err != nil {
		return d, nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
	}
	if text, err := shown(dom); err == nil {
		b.log.DebugContext(ctx, "domain described", "vm", spec.Config.Name, "xml", text)
	}
	d.cards = cards
	if spec.Boot.UEFI != nil && !f.sameHost {
		d.flags = libvirt.DomainStartResetNvram // libvirt keeps them by the domain's name, and of guests that are long gone
	}
	d.runtime = vm.Runtime{Backend: b.opts.Name, Accel: f.accel(), Machine: f.machine, Boot: spec.Boot, NVRAM: spec.NVRAM, Seed: spec.Seed,
		Disks: slices.Clone(spec.Images), Cards: guestview.CardRecords(spec.Config, spec.Unplugged, spec.ID)}
	b.complete(&d.runtime, spec)
	return d, undo, nil
}
