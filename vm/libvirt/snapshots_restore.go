package libvirt

import (
	"context"
	"slices"
	"strconv"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
)

// restore starts the defined domain from a snapshot's memory and disks, with its CPUs halted.
func (l *launch) restore(ctx context.Context) error {
	dom, err := l.b.startFrom(ctx, l.spec.Config.Name, l.dom, l.spec.Restore)
	if err != nil {
		return err
	}
	l.dom = dom
	l.undos = append(l.undos, func(ctx context.Context) error { return l.b.destroy(ctx, l.spec.Config.Name, dom, 0) })
	return nil
}

// idle ends a domain that was left running by a load that died; see vacate. It fails where the
// domain runs for any other reason.
func (b *Backend) idle(ctx context.Context, name string, dom libvirt.Domain) error {
	return b.host.call(ctx, "end what a load has left", name, func(l *libvirt.Libvirt) error { return vacate(l, name, dom) })
}

// startFrom starts a defined domain from a snapshot that has memory, without letting it run, and
// returns the domain as it is then.
func (b *Backend) startFrom(ctx context.Context, name string, dom libvirt.Domain, snapshot string) (libvirt.Domain, error) {
	op := "restore snapshot " + strconv.Quote(snapshot)
	now, err := ask(ctx, b.host.longCall, op, name, func(l *libvirt.Libvirt) (libvirt.Domain, error) {
		snap, err := l.DomainSnapshotLookupByName(dom, snapshot, 0)
		if err == nil {
			err = refit(l, op, name, snap)
		}
		if err == nil {
			err = l.DomainRevertToSnapshot(snap, uint32(libvirt.DomainSnapshotRevertPaused))
		}
		if err != nil {
			return dom, err
		}
		return l.DomainLookupByUUID(dom.UUID)
	})
	return now, snapshotError(errors.ErrSnapshot, err)
}

// refit has a snapshot know the arguments that its QEMU is to be started with: libvirt keeps
// those from the start before it was made, and devices that were plugged through QMP since,
// which are in the memory, are among them only now.
func refit(l *libvirt.Libvirt, op, name string, snap libvirt.DomainSnapshot) error {
	text, err := l.DomainGetXMLDesc(snap.Dom, libvirt.DomainXMLInactive)
	if err != nil {
		return err
	}
	var dom libvirtxml.Domain
	if err := dom.Unmarshal(text); err != nil {
		return err
	}
	s, err := describe(l, snap, libvirt.DomainXMLSecure)
	if err != nil || s.Domain == nil {
		return err
	}
	if found := misfits(s.Domain, &dom); len(found) > 0 {
		return &errors.Error{Kind: errors.ErrSnapshotBlocked, Op: op, VM: name,
			Msg: found[0].Device + " " + found[0].Reason, Hint: found[0].Fix}
	}
	if slices.Equal(argsOf(s.Domain), argsOf(&dom)) {
		return nil
	}
	s.Domain.QEMUCommandline = dom.QEMUCommandline
	if s.InactiveDomain != nil {
		s.InactiveDomain.QEMUCommandline = dom.QEMUCommandline
	}
	if text, err = s.Marshal(); err != nil {
		return err
	}
	flags := libvirt.DomainSnapshotCreateRedefine
	if current, err := l.DomainSnapshotIsCurrent(snap, 0); err != nil {
		return err
	} else if current != 0 {
		flags |= libvirt.DomainSnapshotCreateCurrent
	}
	_, err = l.DomainSnapshotCreateXML(snap.Dom, text, uint32(flags))
	return err
}

// argsOf returns the arguments for QEMU that libvirt hands on.
func argsOf(dom *libvirtxml.Domain) (args []string) {
	if dom.QEMUCommandline != nil {
		for _, a := range dom.QEMUCommandline.Args {
			args = append(args, a.Value)
		}
	}
	return args
}
