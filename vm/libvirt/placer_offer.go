package libvirt

import (
	"context"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
)

// offer is what a host has to give.
type offer struct {
	backend *Backend
	err     error  // why it gives nothing
	memory  uint64 // bytes that are free, and not promised to guests that run
	cpus    int    // processors that are on
	vcpus   int    // those of guests that run
	guests  map[string]bool
}

func (o *offer) take(c claim) {
	o.memory -= min(o.memory, c.memory)
	o.vcpus += c.vcpus
}

// load is how many virtual processors there would be for each real one.
func (o *offer) load(want claim) float64 {
	return float64(o.vcpus+want.vcpus) / float64(max(o.cpus, 1))
}

// offer asks the host what it has to give.
func (b *Backend) offer(ctx context.Context) offer {
	o, err := ask(ctx, b.host.call, "ask what is free on "+b.opts.Name, "", func(l *libvirt.Libvirt) (o offer, err error) {
		_, total, cpus, _, _, _, _, _, err := l.NodeGetInfo()
		if err != nil {
			return o, err
		}
		o.cpus, o.guests = int(cpus), map[string]bool{}
		promised, err := o.running(l)
		if err != nil {
			return o, err
		}
		// A guest's memory is the host's until the guest has touched it: what is free now is not
		// what can be given away.
		o.memory = total*1024 - min(total*1024, promised)
		if free, ok := freeMemory(l); ok {
			o.memory = min(o.memory, free)
		}
		return o, nil
	})
	o.backend, o.err = b, err
	return o
}

// running counts the guests that run, and returns how many bytes they may use.
func (o *offer) running(l *libvirt.Libvirt) (promised uint64, err error) {
	domains, _, err := l.ConnectListAllDomains(1, libvirt.ConnectListDomainsActive)
	for _, d := range domains {
		_, most, _, vcpus, _, infoErr := l.DomainGetInfo(d)
		if infoErr != nil {
			continue // it has ended meanwhile
		}
		promised += most*1024 + overhead
		o.vcpus += int(vcpus)
		o.guests[uuid.UUID(d.UUID).String()] = true
	}
	return promised, err
}

// allCells asks for the memory of all NUMA nodes (VIR_NODE_MEMORY_STATS_ALL_CELLS).
const allCells = -1

// freeMemory returns how many bytes of memory are free, or can be at once. Not every driver
// knows; libvirt's for tests does not.
func freeMemory(l *libvirt.Libvirt) (uint64, bool) {
	_, n, err := l.NodeGetMemoryStats(0, allCells, 0)
	if err != nil || n == 0 {
		return 0, false
	}
	stats, _, err := l.NodeGetMemoryStats(n, allCells, 0)
	if err != nil {
		return 0, false
	}
	var free uint64
	for _, s := range stats { // virsh nodememstats has their names
		switch s.Field {
		case "free", "buffers", "cached":
			free += s.Value * 1024
		}
	}
	return free, true
}
