package snapshot

import (
	"cmp"
	"context"
	"maps"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Fork starts a copy of a template, which goes on where that was captured, and returns when it
// is somebody of its own: its kernel's random numbers, clock, host name, machine ID and
// addresses are new. It has disks of its own over the template's, and shares with other forks
// what memory none of them changes.
//
// It is a VM like others: ephemeral unless [ForkLifetime] says otherwise, and started with the
// agent answering. Each later start of an ephemeral fork is a fresh copy again. If anything
// fails nothing of it is left.
//
// errors.ErrTemplateNotFound; errors.ErrTemplateMismatch when QEMU, this host or the
// configuration are not what was captured, with what differs.
func (c *Coordinator) Fork(ctx context.Context, template string, opts ...ForkOption) (vm.Instance, error) {
	what := "fork template " + template
	if c.templates == nil {
		return vm.Instance{}, noTemplates(what)
	}
	var o forkOptions
	for _, opt := range opts {
		opt(&o)
	}
	inst, err := c.addFork(ctx, template, o)
	if err != nil {
		return vm.Instance{}, errors.Wrap(errors.ErrSnapshot, what, "", err)
	}
	started, err := c.vms.Start(ctx, inst.ID, o.start...)
	if err == nil {
		return started, nil
	}
	gone := c.vms.Remove(context.WithoutCancel(ctx), inst.ID, vm.ForceRemove(), vm.DeleteImages())
	if errors.Is(gone, errors.ErrVMNotFound) {
		gone = nil // somebody else was quicker
	}
	return vm.Instance{}, errors.Wrap(errors.ErrSnapshot, what, "", errors.Join(err, gone))
}

// addFork records a fork. Nobody can delete its template then.
func (c *Coordinator) addFork(ctx context.Context, template string, o forkOptions) (_ vm.Instance, err error) {
	if err := checkTemplateName(template); err != nil {
		return vm.Instance{}, err
	}
	lock, err := c.templates.lock(ctx, template)
	if err != nil {
		return vm.Instance{}, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	rec, err := c.templates.read(template)
	if err != nil {
		return vm.Instance{}, err
	}
	return c.vms.AddFork(ctx, rec.forkConfig(o), vm.Fork{Template: rec.Name, ID: rec.ID, Resume: true, Alike: o.alike}, rec.Plugged, rec.Unplugged)
}

// forkConfig is the template's configuration without what each fork has of its own.
func (rec *templateRecord) forkConfig(o forkOptions) vm.Config {
	cfg := rec.Config.Clone()
	cfg.Name, cfg.Lifetime, cfg.Template = o.name, cmp.Or(o.lifetime, vm.Ephemeral), o.capture
	if cfg.Name == "" {
		cfg.Name = rec.Name[:min(len(rec.Name), 54)] + "-" + uuid.NewString()[:8]
	}
	if cfg.GenerationID != "" {
		cfg.GenerationID = "auto"
	}
	for i := range cfg.Networks {
		n := &cfg.Networks[i]
		n.MAC = rec.macOfFork(i)
		if n.TypeOf() == vm.NetworkSegment {
			n.Address = ""
		}
		for j := range n.Forwards {
			if n.TypeOf() == vm.NetworkUser {
				n.Forwards[j].Port = 0
			}
		}
	}
	if len(o.labels) > 0 {
		labels := maps.Clone(cfg.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, o.labels)
		cfg.Labels = labels
	}
	for _, change := range o.change {
		change(&cfg)
	}
	return cfg
}

// macOfFork is the MAC that a fork's network is to have; empty: one of its own. A guest that
// leases its address from QEMU's user network keeps the template's, which nobody else can see:
// that network's state is the template's as well, and would give another MAC another address,
// where no forward leads.
func (rec *templateRecord) macOfFork(index int) string {
	n := rec.Config.Networks[index]
	if rec.Boot.Default || n.TypeOf() != vm.NetworkUser {
		return ""
	}
	for _, c := range rec.Cards {
		if c.Name == n.NameAt(index) {
			return c.MAC
		}
	}
	return ""
}

// ResetToTemplate ends the guest of a fork and has it continue from its template again, under
// the same name, ID and addresses; what it wrote is gone. It takes as long as a new fork, which
// is less than bringing the running guest back would (docs/forking.md has both).
//
// A VM that is no fork, or whose disks stay when it stops, is errors.ErrIllegalTransition.
func (c *Coordinator) ResetToTemplate(ctx context.Context, ref string, opts ...vm.StartOption) (vm.Instance, error) {
	inst, err := c.vms.Get(ctx, ref)
	if err != nil {
		return vm.Instance{}, err
	}
	if inst.Fork == nil || !inst.Fork.Resume {
		hint := "only a VM that was made by Fork can be"
		if inst.Fork != nil {
			hint = "its disks stay when it stops: only an ephemeral fork can be"
		}
		return inst, &errors.TransitionError{VM: inst.Name, Op: "reset to template", State: string(inst.State), Hint: hint}
	}
	if _, err := c.vms.Stop(ctx, inst.ID, vm.Force()); err != nil {
		return inst, err
	}
	return c.vms.Start(ctx, inst.ID, opts...)
}
