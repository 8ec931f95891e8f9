package libvirt

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Hosts chooses a host for VMs that may run on any of several: one that has the memory, and of
// these the one with the fewest virtual processors for each of its own. It asks libvirt at each
// start what there is, and knows of nothing but memory and processors: no queue, no priorities,
// no balancing of guests that run. It is a vm.Placer, safe for concurrent use.
//
// A host with too little memory for a VM is never chosen; processors can be shared, and are.
type Hosts struct {
	hosts []*Backend

	mu      sync.Mutex
	pending map[string]claim // by the VM's ID
}

var _ vm.Placer = (*Hosts)(nil)

// claim is what a VM that was placed takes of its host, until that itself tells of it.
type claim struct {
	host   *Backend
	memory uint64
	vcpus  int
	until  time.Time
}

// claimTime is how long a VM that was placed may take until its host knows of it: images and
// kernels are brought there first.
const claimTime = 2 * time.Minute

// overhead is what QEMU needs besides its guest's memory.
const overhead = 64 << 20

// NewHosts returns Hosts of these hosts. It connects to none.
func NewHosts(hosts ...*Backend) *Hosts { return &Hosts{hosts: hosts, pending: map[string]claim{}} }

// Place implements vm.Placer. Hosts that don't answer are left out; when none is left the error is
// errors.ErrInvalidConfiguration, or errors.ErrHostUnreachable where it is only for that, and
// says why for each.
func (p *Hosts) Place(ctx context.Context, inst vm.Instance) (string, error) {
	want := claim{memory: uint64(cmp.Or(inst.Config.Memory, vm.DefaultMemory)) + overhead, vcpus: inst.Config.CPU.Vcpus()}
	offers := make([]offer, len(p.hosts))
	var asking errgroup.Group
	for i, b := range p.hosts {
		asking.Go(func() error {
			offers[i] = b.offer(ctx)
			return nil
		})
	}
	_ = asking.Wait() // errors are in the offers
	if ctx.Err() != nil {
		return "", errors.Wrap(errors.ErrBackend, "choose a host", inst.Name, context.Cause(ctx))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subtract(offers, inst.ID)
	best := choose(offers, want)
	if best == nil {
		return "", refusal(inst, offers, want)
	}
	want.host, want.until = best.backend, time.Now().Add(claimTime)
	p.pending[inst.ID] = want
	return best.backend.opts.Name, nil
}

// subtract takes from each offer what was promised of it, and drops promises that were kept or
// are too old.
func (p *Hosts) subtract(offers []offer, id string) {
	now := time.Now()
	for vmID, c := range p.pending {
		o := &offers[slices.Index(p.hosts, c.host)]
		if vmID == id || now.After(c.until) || o.guests[vmID] {
			delete(p.pending, vmID)
			continue
		}
		o.take(c)
	}
}

// choose returns the best offer that has room, nil if none has. Of equal ones it is the first.
func choose(offers []offer, want claim) *offer {
	var best *offer
	for i := range offers {
		o := &offers[i]
		if o.err != nil || o.memory < want.memory {
			continue
		}
		if best == nil || o.load(want) < best.load(want) || o.load(want) == best.load(want) && o.memory > best.memory {
			best = o
		}
	}
	return best
}

// refusal says of each host why it is none for the VM.
func refusal(inst vm.Instance, offers []offer, want claim) error {
	kind := errors.ErrHostUnreachable
	var reasons []string
	var causes []error
	for _, o := range offers {
		reason := fmt.Sprintf("has %v free", vm.Size(o.memory))
		if o.err != nil {
			reason = o.err.Error()
			causes = append(causes, o.err)
		} else {
			kind = errors.ErrInvalidConfiguration
		}
		reasons = append(reasons, o.backend.opts.Name+": "+reason)
	}
	return &errors.Error{Kind: kind, Op: "choose a host", VM: inst.Name, Err: errors.Join(causes...),
		Msg:  fmt.Sprintf("none has the %v that it needs (%s)", vm.Size(want.memory), strings.Join(reasons, "; ")),
		Hint: "stop other VMs, lower Config.Memory, or add a host"}
}
