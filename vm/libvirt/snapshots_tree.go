package libvirt

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// snapshotTree is what libvirt knows of a domain and its snapshots.
type snapshotTree struct {
	domain    *libvirtxml.Domain // nil: libvirt does not know it
	live      bool
	transient bool
	snapshots []*libvirtxml.DomainSnapshot // in the order in which they were made
	current   string                       // empty: none
}

// tree asks libvirt. A domain that is not defined has no snapshots.
func (b *Backend) tree(ctx context.Context, op string, inst vm.Instance) (*snapshotTree, error) {
	id, err := domainUUID(inst.ID, inst.Name)
	if err != nil {
		return nil, err
	}
	t, err := ask(ctx, b.host.longCall, op, inst.Name, func(l *libvirt.Libvirt) (*snapshotTree, error) {
		t := &snapshotTree{}
		dom, err := l.DomainLookupByUUID(id)
		if err == nil {
			err = t.read(l, dom)
		}
		return t, err
	})
	if hasCode(err, libvirt.ErrNoDomain) {
		return &snapshotTree{}, nil
	}
	return t, snapshotError(errors.ErrSnapshot, err)
}

func (t *snapshotTree) read(l *libvirt.Libvirt, dom libvirt.Domain) error {
	if err := t.readDomain(l, dom); err != nil {
		return err
	}
	all, _, err := l.DomainListAllSnapshots(dom, 1, uint32(libvirt.DomainSnapshotListTopological))
	if err != nil {
		return err
	}
	for _, snap := range all {
		s, err := describe(l, snap, 0)
		if err != nil {
			return err
		}
		t.snapshots = append(t.snapshots, s)
	}
	slices.SortStableFunc(t.snapshots, func(a, b *libvirtxml.DomainSnapshot) int { return cmp.Compare(seconds(a), seconds(b)) })
	if has, err := l.DomainHasCurrentSnapshot(dom, 0); err != nil || has == 0 {
		return err
	}
	current, err := l.DomainSnapshotCurrent(dom, 0)
	t.current = current.Name
	return err
}

func (t *snapshotTree) readDomain(l *libvirt.Libvirt, dom libvirt.Domain) error {
	active, err := l.DomainIsActive(dom)
	if err != nil {
		return err
	}
	persistent, err := l.DomainIsPersistent(dom)
	if err != nil {
		return err
	}
	text, err := l.DomainGetXMLDesc(dom, 0)
	if err != nil {
		return err
	}
	t.live, t.transient, t.domain = active != 0, persistent == 0, &libvirtxml.Domain{}
	return t.domain.Unmarshal(text)
}

func describe(l *libvirt.Libvirt, snap libvirt.DomainSnapshot, flags libvirt.DomainXMLFlags) (*libvirtxml.DomainSnapshot, error) {
	text, err := l.DomainSnapshotGetXMLDesc(snap, uint32(flags))
	if err != nil {
		return nil, err
	}
	var s libvirtxml.DomainSnapshot
	return &s, s.Unmarshal(text)
}

// find returns a snapshot, nil if there is none of that name.
func (t *snapshotTree) find(name string) *libvirtxml.DomainSnapshot {
	i := slices.IndexFunc(t.snapshots, func(s *libvirtxml.DomainSnapshot) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return t.snapshots[i]
}

func (t *snapshotTree) list() (list []vm.BackendSnapshot) {
	for _, s := range t.snapshots {
		snap := vm.BackendSnapshot{Name: s.Name, Description: s.Description, Parent: parentOf(s), Created: time.Unix(seconds(s), 0).UTC(),
			Current: s.Name == t.current, External: isExternal(s), Memory: withMemory(s)}
		for _, d := range snapshotDisks(s) {
			snap.Disks = append(snap.Disks, vm.BackendSnapshotDisk{Name: diskName(d), Path: sourceOf(d)})
		}
		list = append(list, snap)
	}
	return list
}

// layers returns the layers of a domain that had those of before: images that an external
// snapshot has put over another. One that libvirt does not tell any more, because somebody made
// it forget the snapshot but not the image, stays a layer as long as it is used.
func (t *snapshotTree) layers(before []vm.Layer) (layers []vm.Layer) {
	if t.domain == nil {
		return before
	}
	for _, d := range written(t.domain) {
		layer := vm.Layer{Disk: diskName(d), Path: sourceOf(d)}
		known := slices.ContainsFunc(t.snapshots, func(s *libvirtxml.DomainSnapshot) bool { return puts(s, layer.Path) })
		if known || slices.Contains(before, layer) {
			layers = append(layers, layer)
		}
	}
	return layers
}

// puts reports whether an external snapshot has put that image over another.
func puts(s *libvirtxml.DomainSnapshot, path string) bool {
	return s.Disks != nil && slices.ContainsFunc(s.Disks.Disks, func(d libvirtxml.DomainSnapshotDisk) bool {
		return d.Snapshot == "external" && d.Source != nil && d.Source.File != nil && d.Source.File.File == path
	})
}

func isExternal(s *libvirtxml.DomainSnapshot) bool {
	return s.Memory != nil && s.Memory.Snapshot == "external" ||
		s.Disks != nil && slices.ContainsFunc(s.Disks.Disks, func(d libvirtxml.DomainSnapshotDisk) bool { return d.Snapshot == "external" })
}

func withMemory(s *libvirtxml.DomainSnapshot) bool {
	return s.Memory != nil && (s.Memory.Snapshot == "internal" || s.Memory.Snapshot == "external")
}

func parentOf(s *libvirtxml.DomainSnapshot) string {
	if s.Parent == nil {
		return ""
	}
	return s.Parent.Name
}

// seconds is when a snapshot was made, since 1970.
func seconds(s *libvirtxml.DomainSnapshot) int64 {
	n, _ := strconv.ParseInt(s.CreationTime, 10, 64) // libvirt wrote it
	return n
}

// snapshotDisks returns the disks that belong to a snapshot, as they were before it was made. Of
// one that an old libvirt made there may be none.
func snapshotDisks(s *libvirtxml.DomainSnapshot) (disks []libvirtxml.DomainDisk) {
	if s.Domain == nil || s.Domain.Devices == nil || s.Disks == nil {
		return nil
	}
	for _, d := range s.Domain.Devices.Disks {
		if d.Target != nil && slices.ContainsFunc(s.Disks.Disks, func(part libvirtxml.DomainSnapshotDisk) bool {
			return part.Name == d.Target.Dev && part.Snapshot != "no"
		}) {
			disks = append(disks, d)
		}
	}
	return disks
}

// written returns the disks of a domain that it writes, and that libvirt takes into a snapshot.
func written(dom *libvirtxml.Domain) (disks []libvirtxml.DomainDisk) {
	if dom.Devices == nil {
		return nil
	}
	for _, d := range dom.Devices.Disks {
		if d.ReadOnly == nil && d.Source != nil && d.Snapshot != "no" {
			disks = append(disks, d)
		}
	}
	return disks
}

// sourceOf returns the path of a disk's image, empty if it is none of a path.
func sourceOf(d libvirtxml.DomainDisk) string {
	switch {
	case d.Source == nil:
		return ""
	case d.Source.File != nil:
		return d.Source.File.File
	case d.Source.Block != nil:
		return d.Source.Block.Dev
	}
	return ""
}
