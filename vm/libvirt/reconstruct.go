package libvirt

import (
	"context"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// reconstruct makes the record that the process that launched a guest did not live to make: of
// what libvirt says of the domain, and of what follows from the VM's configuration and ID.
func (b *Backend) reconstruct(ctx context.Context, inst vm.Instance, dom libvirt.Domain) (vm.Runtime, error) {
	text, err := ask(ctx, b.host.call, "look at VM", inst.Name, func(l *libvirt.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(dom, 0)
	})
	if err != nil {
		return vm.Runtime{}, err
	}
	said, err := markOf(text)
	if err != nil {
		return vm.Runtime{}, err
	}
	var d libvirtxml.Domain
	if err := unmarshal(text, &d); err != nil {
		return vm.Runtime{}, err
	}
	rt := vm.Runtime{Accel: "tcg", Boot: vm.BootFiles{Default: said.Default},
		Cards: guestview.CardRecords(inst.Config, inst.Unplugged, inst.ID)}
	if d.Type == "kvm" {
		rt.Accel = "kvm"
	}
	if d.OS != nil && d.OS.Type != nil {
		rt.Machine = d.OS.Type.Machine
	}
	b.complete(&rt, vm.LaunchSpec{ID: inst.ID, Config: inst.Config, Boot: rt.Boot, Plugged: inst.Plugged, Unplugged: inst.Unplugged})
	return rt, nil
}
