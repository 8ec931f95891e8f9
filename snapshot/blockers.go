package snapshot

import (
	"context"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Blocker is something that stands in the way of a snapshot.
type Blocker struct {
	Device string `json:"device,omitempty"` // a disk, share or device of the VM; empty: none in particular
	Reason string `json:"reason"`
	Fix    string `json:"fix"`
}

// BlockedError says all that stands in the way of an operation. Nothing was done. It is
// errors.ErrSnapshotBlocked.
type BlockedError struct {
	Op, VM   string
	Blockers []Blocker
}

// Error names each device, what is wrong with it and what to do.
func (e *BlockedError) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": VM " + e.VM + ": blocked")
	for i, bl := range e.Blockers {
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		if bl.Device != "" {
			b.WriteString(bl.Device + " ")
		}
		b.WriteString(bl.Reason + " (" + bl.Fix + ")")
	}
	return b.String()
}

// Unwrap returns errors.ErrSnapshotBlocked.
func (e *BlockedError) Unwrap() error { return errors.ErrSnapshotBlocked }

// Blockers says what stands in the way of a [Coordinator.Create] with these options now; none:
// nothing that can be seen beforehand. Nothing is done, and nobody waited for but the guest's
// agent, two seconds at most, to tell which shares are mounted when QEMU says that one is.
//
// Errors: what vm.Manager says of ref, and of its guest; errors.ErrInvalidConfiguration for
// options that Create does not take.
func (c *Coordinator) Blockers(ctx context.Context, ref string, opts ...Option) ([]Blocker, error) {
	const what = "look for what blocks a snapshot"
	o, err := collect(onCreate, what, opts)
	if err != nil {
		return nil, err
	}
	inst, err := c.vms.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	backend, err := c.vms.Snapshotter(inst)
	if err != nil {
		return nil, err
	}
	var list []Blocker
	if backend != nil {
		list, err = blockersOf(ctx, backend, inst, vm.CreatingSnapshot, o.spec("", inst))
	} else {
		list, err = c.blockers(ctx, inst, o.kind(inst))
	}
	return list, errors.Wrap(errors.ErrSnapshot, what, inst.Name, err)
}

// blocked says what stands in the way of a new snapshot.
func (op *operation) blocked(ctx context.Context, kind Kind) error {
	list, err := op.blockers(ctx, op.inst, kind)
	return op.refuse(list, err)
}

// refuse makes an error of what stands in the way.
func (op *operation) refuse(list []Blocker, err error) error {
	if err == nil && len(list) > 0 {
		err = &BlockedError{Op: op.what, VM: op.inst.Name, Blockers: list}
	}
	return err
}

// search looks for what stands in the way of an operation, and collects it.
type search struct {
	*Coordinator
	inst  vm.Instance
	found []Blocker
}

func (s *search) add(device, reason, fix string) {
	s.found = append(s.found, Blocker{Device: device, Reason: reason, Fix: fix})
}

// blockers returns all that stands in the way of a new snapshot of that kind.
func (c *Coordinator) blockers(ctx context.Context, inst vm.Instance, kind Kind) ([]Blocker, error) {
	s := &search{Coordinator: c, inst: inst}
	if inst.State == vm.Starting || inst.State == vm.Stopping {
		s.add("", "the VM is "+string(inst.State), "wait until that is over")
		return s.found, nil
	}
	images := s.written()
	var err error
	switch kind {
	case Internal:
		err = s.internal(ctx, images)
	case Memory:
		err = s.memory(ctx, images)
	case External:
		s.external(images)
	}
	if err == nil {
		err = s.space(kind, images)
	}
	return s.found, err
}

// written are the images that the guest can change.
func (s *search) written() []vm.Image {
	return slices.DeleteFunc(s.vms.Images(s.inst), func(img vm.Image) bool { return img.Path == "" || img.ReadOnly })
}
