package libvirt

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// SnapshotBlockers implements vm.Snapshotter. libvirt checks most of it, too, but one thing at a
// time, late, and without naming what to do.
func (b *Backend) SnapshotBlockers(ctx context.Context, inst vm.Instance, act vm.SnapshotAct, spec vm.SnapshotSpec) ([]vm.SnapshotBlocker, error) {
	op := string(act) + " snapshot " + strconv.Quote(spec.Name)
	t, err := b.tree(ctx, op, inst)
	if err != nil {
		return nil, err
	}
	c := snapshotCheck{snapshotTree: t, plugged: inst.Plugged}
	s := t.find(spec.Name)
	if act == vm.CreatingSnapshot {
		if s != nil {
			return nil, &errors.Error{Kind: errors.ErrSnapshotExists, Op: op, VM: inst.Name, Hint: "choose another name, or delete that one"}
		}
		c.create(spec)
		return c.found, nil
	}
	if s == nil {
		return nil, &errors.Error{Kind: errors.ErrSnapshotNotFound, Op: op, VM: inst.Name, Msg: "the VM has no snapshot of that name", Hint: t.names()}
	}
	if act == vm.LoadingSnapshot {
		c.load(s, spec.NoMemory)
	} else {
		c.delete(s)
	}
	return c.found, nil
}

// names says which snapshots there are, the latest first.
func (t *snapshotTree) names() string {
	const most = 10
	var names []string
	for _, s := range slices.Backward(t.snapshots) {
		names = append(names, strconv.Quote(s.Name))
	}
	if len(names) == 0 {
		return "it has none"
	}
	if more := len(names) - most; more > 0 {
		names = append(names[:most], strconv.Itoa(more)+" more")
	}
	return "it has " + strings.Join(names, ", ")
}

// snapshotCheck collects what stands in the way of an operation.
type snapshotCheck struct {
	*snapshotTree
	plugged []qmp.Device
	found   []vm.SnapshotBlocker
}

func (c *snapshotCheck) add(device, fix, reason string, args ...any) {
	c.found = append(c.found, vm.SnapshotBlocker{Device: device, Reason: fmt.Sprintf(reason, args...), Fix: fix})
}

// create looks at a snapshot that is to be made.
func (c *snapshotCheck) create(spec vm.SnapshotSpec) {
	if strings.ContainsRune(spec.Name, '/') || strings.HasPrefix(spec.Name, ".") {
		c.add("", "choose another name", "its name has a slash, or begins with a dot, and libvirt names a file by it")
	}
	switch {
	case c.domain == nil:
		c.add("", "start it once", "libvirt does not know the VM before its first start")
		return
	case c.transient:
		c.add("", `have it with the lifetime "persistent"`, "the VM is ephemeral, and libvirt keeps no snapshots of what ends with its owner")
		return
	}
	if spec.External || !c.live {
		c.strangers()
	}
	disks := written(c.domain)
	switch {
	case len(disks) == 0:
		c.add("", "give it a qcow2 disk that it writes", "the VM has no disk that it writes, and libvirt keeps snapshots in disks")
	case spec.External:
		c.createExternal()
	default:
		c.createInternal(disks)
	}
}

// strangers are disks that were plugged through QMP: in a snapshot with memory QEMU has them by
// itself, others libvirt makes of the disks that it knows.
func (c *snapshotCheck) strangers() {
	for _, d := range c.plugged {
		if d.Disk != nil && !d.Disk.ReadOnly {
			c.add(d.ID, "remove it, or have it in the configuration", "was plugged while the VM ran, and libvirt does not know it")
		}
	}
}

// createExternal: libvirt 9.0 neither loads nor deletes an external snapshot that was made on an
// internal one (virDomainSnapshotDelete).
func (c *snapshotCheck) createExternal() {
	if s := c.find(c.current); s != nil && !isExternal(s) {
		c.add("", "delete the internal ones first", "the disks stand on snapshot %q, which is internal, and libvirt could not delete an external one above it", s.Name)
	}
}

func (c *snapshotCheck) createInternal(disks []libvirtxml.DomainDisk) {
	for _, d := range disks {
		if format := formatOf(d); format != vm.FormatQcow2 {
			c.add(diskName(d), "convert it to qcow2, or make it read-only", "is written, and has the format %s", format)
		}
	}
	if os := c.domain.OS; os != nil && os.Loader != nil && os.Loader.Type == "pflash" {
		c.add("firmware", "make it by DiskOnly while the VM is live", "is in flash memory, of which libvirt makes no internal snapshots")
	}
	if c.domain.Devices == nil {
		return
	}
	if len(c.domain.Devices.TPMs) > 0 && !c.live {
		c.add("tpm", "make it while the VM is live", "keeps secrets that libvirt takes into no snapshot without memory")
	}
	if !c.live {
		return
	}
	for _, fs := range c.domain.Devices.Filesystems {
		if fs.Driver != nil && fs.Driver.Type == "virtiofs" {
			c.add(tagOf(fs), "make it by DiskOnly, or without the share", "is shared by virtiofs, and can't be saved with the memory")
		}
	}
	if len(c.domain.Devices.Hostdevs) > 0 {
		c.add("hostdev", "make it by DiskOnly, or unplug the device", "is a device of the host, and can't be saved with the memory")
	}
}

// tagOf is what a guest mounts a share by.
func tagOf(fs libvirtxml.DomainFilesystem) string {
	if fs.Target == nil {
		return "share"
	}
	return fs.Target.Dir
}

func formatOf(d libvirtxml.DomainDisk) string {
	if d.Driver == nil || d.Driver.Type == "" {
		return vm.FormatRaw // libvirt's default
	}
	return d.Driver.Type
}

// load looks at a snapshot that is to be loaded.
func (c *snapshotCheck) load(s *libvirtxml.DomainSnapshot, noMemory bool) {
	if isExternal(s) {
		c.add("", "load an internal one; deleting this one merges its images", "it is external, and libvirt does not go back to those")
		return
	}
	now := map[string]string{} // images by the disks
	for _, d := range written(c.domain) {
		now[diskName(d)] = sourceOf(d)
	}
	for _, d := range snapshotDisks(s) {
		name := diskName(d)
		if path, ok := now[name]; ok && path != sourceOf(d) {
			c.add(name, "delete the external snapshots that were made since", "is written in %s now, and the snapshot is in %s", path, sourceOf(d))
		}
	}
	if withMemory(s) && !noMemory && s.Domain != nil {
		c.found = append(c.found, misfits(s.Domain, c.domain)...)
	}
}

// delete looks at a snapshot that is to be deleted. libvirt 9.0 merges the images of an external
// one only where nothing internal is near.
func (c *snapshotCheck) delete(s *libvirtxml.DomainSnapshot) {
	if !isExternal(s) {
		return
	}
	if parent := c.find(parentOf(s)); parent != nil && !isExternal(parent) {
		c.add("", "delete that one first", "it was made on %q, which is internal, and libvirt merges no such images", parent.Name)
	}
	for _, child := range c.snapshots {
		if parentOf(child) == s.Name && !isExternal(child) {
			c.add("", "delete that one first", "the internal snapshot %q is in an image that would be merged", child.Name)
		}
	}
}
