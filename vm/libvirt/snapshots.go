package libvirt

import (
	"context"
	"strconv"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

var _ vm.Snapshotter = (*Backend)(nil)

// CreateSnapshot implements vm.Snapshotter.
func (b *Backend) CreateSnapshot(ctx context.Context, inst vm.Instance, spec vm.SnapshotSpec) error {
	op := "create snapshot " + strconv.Quote(spec.Name)
	var flags libvirt.DomainSnapshotCreateFlags
	if spec.External {
		flags = libvirt.DomainSnapshotCreateDiskOnly | libvirt.DomainSnapshotCreateAtomic
	}
	if len(spec.Layers) > 0 {
		flags |= libvirt.DomainSnapshotCreateReuseExt
	}
	create := func(flags libvirt.DomainSnapshotCreateFlags) error {
		return b.onDomain(ctx, op, inst, func(l *libvirt.Libvirt, dom libvirt.Domain) error {
			text, err := snapshotXML(l, dom, spec)
			if err == nil {
				_, err = l.DomainSnapshotCreateXML(dom, text, uint32(flags))
			}
			return err
		})
	}
	if spec.External && spec.Freeze {
		err := create(flags | libvirt.DomainSnapshotCreateQuiesce)
		switch {
		case err != nil && spec.MustFreeze && agentFailed(err):
			return errors.Wrap(errors.ErrAgentUnavailable, "freeze file systems", "", err)
		case err == nil || !agentFailed(err):
			return snapshotError(errors.ErrSnapshotCreation, err)
		}
	}
	return snapshotError(errors.ErrSnapshotCreation, create(flags))
}

// LoadSnapshot implements vm.Snapshotter. libvirt brings back the disks of a snapshot with memory
// by starting the guest from it, so that this does, without letting it run, and ends it.
func (b *Backend) LoadSnapshot(ctx context.Context, inst vm.Instance, name string) error {
	return b.onSnapshot(ctx, "load snapshot "+strconv.Quote(name), inst, name, func(l *libvirt.Libvirt, snap libvirt.DomainSnapshot) error {
		if err := vacate(l, inst.Name, snap.Dom); err != nil {
			return err
		}
		held, err := describe(l, snap, 0)
		if err != nil {
			return err
		}
		if !withMemory(held) {
			return l.DomainRevertToSnapshot(snap, uint32(libvirt.DomainSnapshotRevertForce))
		}
		if err := l.DomainRevertToSnapshot(snap, uint32(libvirt.DomainSnapshotRevertPaused|libvirt.DomainSnapshotRevertForce)); err != nil {
			return err
		}
		return l.DomainDestroy(snap.Dom)
	})
}

// vacate makes sure that the domain of a VM that is not live does not run either, for its disks to
// be loaded. A load that died before its end can have left a guest that was started from a
// snapshot, and has not run since: nothing is lost with that.
func vacate(l *libvirt.Libvirt, name string, dom libvirt.Domain) error {
	state, reason, err := l.DomainGetState(dom, 0)
	switch {
	case err != nil:
		return err
	case libvirt.DomainState(state) == libvirt.DomainShutoff:
		return nil
	case libvirt.DomainState(state) == libvirt.DomainPaused && libvirt.DomainPausedReason(reason) == libvirt.DomainPausedFromSnapshot:
		return l.DomainDestroy(dom)
	}
	return &errors.Error{Kind: errors.ErrSnapshotBlocked, Op: "load snapshot", VM: name, Msg: "its domain " + dom.Name + " runs",
		Hint: "somebody has started it by other means: stop it there first"}
}

// DeleteSnapshot implements vm.Snapshotter.
func (b *Backend) DeleteSnapshot(ctx context.Context, inst vm.Instance, name string) error {
	op := "delete snapshot " + strconv.Quote(name)
	err := b.onSnapshot(ctx, op, inst, name, func(l *libvirt.Libvirt, snap libvirt.DomainSnapshot) error {
		return l.DomainSnapshotDelete(snap, 0)
	})
	if errors.Is(err, errors.ErrSnapshotNotFound) {
		return b.purge(ctx, op, inst, name)
	}
	return err
}

// purge deletes what may be left in images of a snapshot that libvirt knows nothing of: libvirtd
// died while QEMU made it. It is told of the snapshot, for it to be deleted by all the rules.
func (b *Backend) purge(ctx context.Context, op string, inst vm.Instance, name string) error {
	t, err := b.tree(ctx, op, inst)
	if err != nil || t.domain == nil {
		return err
	}
	text := libvirtxml.DomainSnapshot{Name: name, State: "shutoff", CreationTime: "1", Domain: t.domain, Disks: &libvirtxml.DomainSnapshotDisks{}}
	for _, d := range written(t.domain) {
		if formatOf(d) == vm.FormatQcow2 && d.Target != nil {
			text.Disks.Disks = append(text.Disks.Disks, libvirtxml.DomainSnapshotDisk{Name: d.Target.Dev, Snapshot: "internal"})
		}
	}
	if len(text.Disks.Disks) == 0 {
		return nil
	}
	desc, err := text.Marshal()
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, op, inst.Name, err)
	}
	return snapshotError(errors.ErrSnapshot, b.onDomain(ctx, op, inst, func(l *libvirt.Libvirt, dom libvirt.Domain) error {
		snap, err := l.DomainSnapshotCreateXML(dom, desc, uint32(libvirt.DomainSnapshotCreateRedefine))
		if err != nil {
			return err
		}
		return l.DomainSnapshotDelete(snap, 0)
	}))
}

// ListSnapshots implements vm.Snapshotter.
func (b *Backend) ListSnapshots(ctx context.Context, inst vm.Instance) (list []vm.BackendSnapshot, err error) {
	tree, err := b.tree(ctx, "list snapshots", inst)
	if err != nil {
		return nil, err
	}
	return tree.list(), nil
}

// SnapshotLayers implements vm.Snapshotter.
func (b *Backend) SnapshotLayers(ctx context.Context, inst vm.Instance) ([]vm.Layer, error) {
	tree, err := b.tree(ctx, "find layers of snapshots", inst)
	if err != nil {
		return nil, err
	}
	return tree.layers(inst.Layers), nil
}

// onDomain changes the domain of inst by fn. It is not given up when ctx ends: libvirt stops no
// operation on snapshots short, and who holds the VM's lock has to know how it ended.
func (b *Backend) onDomain(ctx context.Context, op string, inst vm.Instance, fn func(*libvirt.Libvirt, libvirt.Domain) error) error {
	if ctx.Err() != nil {
		return errors.Wrap(errors.ErrSnapshot, op, inst.Name, context.Cause(ctx))
	}
	id, err := domainUUID(inst.ID, inst.Name)
	if err != nil {
		return err
	}
	return b.host.longCall(context.WithoutCancel(ctx), op, inst.Name, func(l *libvirt.Libvirt) error {
		dom, err := l.DomainLookupByUUID(id)
		if err != nil {
			return err
		}
		return fn(l, dom)
	})
}

// onSnapshot is onDomain for one of its snapshots.
func (b *Backend) onSnapshot(ctx context.Context, op string, inst vm.Instance, name string, fn func(*libvirt.Libvirt, libvirt.DomainSnapshot) error) error {
	return snapshotError(errors.ErrSnapshot, b.onDomain(ctx, op, inst, func(l *libvirt.Libvirt, dom libvirt.Domain) error {
		snap, err := l.DomainSnapshotLookupByName(dom, name, 0)
		if err != nil {
			return err
		}
		return fn(l, snap)
	}))
}

// snapshotXML describes a snapshot to be made; libvirt's manual, "Snapshot XML format". Which
// disks belong to it is left to libvirt: all that the guest writes.
func snapshotXML(l *libvirt.Libvirt, dom libvirt.Domain, spec vm.SnapshotSpec) (string, error) {
	s := libvirtxml.DomainSnapshot{Name: spec.Name, Description: spec.Description}
	if len(spec.Layers) == 0 {
		return s.Marshal()
	}
	var t snapshotTree
	if err := t.readDomain(l, dom); err != nil {
		return "", err
	}
	s.Disks = &libvirtxml.DomainSnapshotDisks{}
	for _, d := range written(t.domain) {
		for _, layer := range spec.Layers {
			if layer.Disk == diskName(d) && d.Target != nil {
				s.Disks.Disks = append(s.Disks.Disks, libvirtxml.DomainSnapshotDisk{Name: d.Target.Dev, Snapshot: "external",
					Driver: &libvirtxml.DomainDiskDriver{Type: vm.FormatQcow2},
					Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: layer.Path}}})
			}
		}
	}
	return s.Marshal()
}

// snapshotError gives an error the kind of what was attempted, where libvirt does not say more.
func snapshotError(kind *errors.Kind, err error) error {
	switch {
	case err == nil || errors.Is(err, errors.ErrSnapshot) || errors.Is(err, errors.ErrHostUnreachable):
		return err
	case hasCode(err, libvirt.ErrNoDomain):
		kind = errors.ErrSnapshotNotFound
	}
	return errors.Wrap(kind, "", "", err)
}

// agentFailed reports whether libvirt could not have the guest's agent do something: it answers
// that it can't, or not at all, the domain has no channel for one, or is paused.
func agentFailed(err error) bool {
	return hasCode(err, libvirt.ErrAgentUnresponsive, libvirt.ErrAgentUnsynced, libvirt.ErrAgentCommandTimeout, libvirt.ErrAgentCommandFailed,
		libvirt.ErrArgumentUnsupported, libvirt.ErrOperationInvalid)
}
