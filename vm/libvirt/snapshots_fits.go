package libvirt

import (
	"fmt"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/vm"
)

// misfits says in what a machine, whose memory was saved, is not as it was: memory fits no other.
// libvirt would start the old machine instead, which the VM's configuration knows nothing of.
func misfits(saved, now *libvirtxml.Domain) (found []vm.SnapshotBlocker) {
	was, is := machineOf(saved), machineOf(now)
	for _, part := range was {
		if !slices.Contains(is, part) {
			found = append(found, vm.SnapshotBlocker{Device: part.name, Reason: "was " + part.value + " when the snapshot was made, and is not now",
				Fix: "configure it as it was, or load the snapshot by ColdBoot"})
		}
	}
	for _, part := range is {
		if !slices.ContainsFunc(was, func(p machinePart) bool { return p.name == part.name }) {
			found = append(found, vm.SnapshotBlocker{Device: part.name, Reason: "was not there when the snapshot was made",
				Fix: "remove it, or load the snapshot by ColdBoot"})
		}
	}
	return found
}

// machinePart is something of a machine that its memory knows.
type machinePart struct{ name, value string }

// machineOf lists what tells a machine from another, as far as maqet configures it.
func machineOf(dom *libvirtxml.Domain) (parts []machinePart) {
	add := func(name, value string, args ...any) {
		parts = append(parts, machinePart{name, fmt.Sprintf(value, args...)})
	}
	if dom.Memory != nil {
		add("memory", "%d %s", dom.Memory.Value, dom.Memory.Unit)
	}
	if dom.VCPU != nil {
		add("cpus", "%d", dom.VCPU.Value)
	}
	if dom.OS != nil && dom.OS.Type != nil {
		add("machine", "%s", dom.OS.Type.Machine)
	}
	if dom.CPU != nil && dom.CPU.Model != nil {
		add("cpu", "%s", dom.CPU.Model.Value)
	}
	if dom.Devices == nil {
		return parts
	}
	for _, d := range dom.Devices.Disks {
		bus := ""
		if d.Target != nil {
			bus = d.Target.Bus
		}
		add(diskName(d), "a disk on %s", bus)
	}
	for i, n := range dom.Devices.Interfaces {
		model := ""
		if n.Model != nil {
			model = n.Model.Type
		}
		add(fmt.Sprintf("network card %d", i), "a %s", model)
	}
	for i, fs := range dom.Devices.Filesystems {
		add(fmt.Sprintf("share %d", i), "shared as %s", tagOf(fs))
	}
	add("hostdev", "%d devices", len(dom.Devices.Hostdevs))
	add("tpm", "%d", len(dom.Devices.TPMs))
	return parts
}

// diskName returns the name that a disk has in the VM's configuration, or the one that libvirt
// has for it.
func diskName(d libvirtxml.DomainDisk) string {
	if d.Alias != nil {
		if name, ours := nameOf(d.Alias.Name); ours {
			return name
		}
	}
	if d.Target != nil {
		return d.Target.Dev
	}
	return ""
}
