package vm

import (
	"context"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
)

// creator records new VMs and changes recorded ones.
type creator struct{ m *Manager }

func (c *creator) add(ctx context.Context, cfg Config, more ...func(*Instance)) (Instance, error) {
	inst, err := c.build(cfg)
	if err != nil {
		return Instance{}, err
	}
	for _, change := range more {
		change(&inst)
	}
	got, err := c.m.states.create(ctx, inst)
	if errors.Is(err, errors.ErrVMAlreadyExists) && c.reap(ctx, inst.Name) {
		got, err = c.m.states.create(ctx, inst)
	}
	if err != nil {
		return Instance{}, err
	}
	c.m.mine.Store(got.ID, nil)
	c.m.log.InfoContext(ctx, "VM added", "vm", got.Name, "id", got.ID)
	return got, nil
}

func (c *creator) build(cfg Config) (Instance, error) {
	if err := cfg.Validate(); err != nil {
		return Instance{}, err
	}
	if err := c.m.knows(cfg); err != nil {
		return Instance{}, err
	}
	id := uuid.NewString()
	if cfg.Name == "" {
		cfg.Name = "vm-" + id[:8]
	}
	now := time.Now()
	return Instance{
		ID: id, Name: cfg.Name, Config: cfg, State: Created, Reason: ReasonAdded,
		Owner: c.m.self, Created: now, Changed: now,
	}, nil
}

// reap removes the VM that has this name if it is ephemeral and the process it
// belonged to is gone. It reports whether the name is free now.
func (c *creator) reap(ctx context.Context, name string) bool {
	old, err := c.m.store.Get(ctx, name)
	if errors.Is(err, errors.ErrVMNotFound) {
		return true
	}
	if err != nil || !c.m.orphaned(old) {
		return false
	}
	_, removed, err := c.m.bury(ctx, old)
	if err != nil {
		c.m.log.WarnContext(ctx, "orphaned VM not removed", "vm", name, "error", err)
	}
	return removed
}

func (c *creator) apply(ctx context.Context, cfg Config) (Instance, error) {
	if cfg.Name == "" {
		return Instance{}, &errors.ConfigError{Problems: []errors.Problem{{
			Field: "name", Message: "is needed to find the VM", Fix: "give the VM a name, or use Add"}}}
	}
	if err := cfg.Validate(); err != nil {
		return Instance{}, err
	}
	if err := c.m.knows(cfg); err != nil {
		return Instance{}, err
	}
	inst, err := c.m.store.Get(ctx, cfg.Name)
	if errors.Is(err, errors.ErrVMNotFound) {
		inst, err = c.add(ctx, cfg)
		if !errors.Is(err, errors.ErrVMAlreadyExists) {
			return inst, err
		}
		inst, err = c.m.store.Get(ctx, cfg.Name) // somebody else was quicker
	}
	if err != nil {
		return Instance{}, err
	}
	if !sameConfig(inst.Config, cfg) { // perhaps it only seems to be live
		if _, err := c.m.settle(ctx, inst); err != nil {
			return inst, err
		}
	}
	err = c.m.states.retry(ctx, inst.ID, func(now Instance) error {
		inst, err = c.change(ctx, now, cfg)
		return err
	})
	return inst, err
}

func (c *creator) change(ctx context.Context, inst Instance, cfg Config) (Instance, error) {
	if sameConfig(inst.Config, cfg) {
		return inst, nil
	}
	if inst.unreachable() {
		return inst, errUnreachable("change VM", inst)
	}
	if inst.State.Live() {
		return inst, &errors.TransitionError{VM: inst.Name, Op: "change", State: string(inst.State), Hint: "stop it first"}
	}
	problems, err := c.outdated(ctx, inst, cfg)
	if err != nil {
		return inst, err
	}
	if len(problems) > 0 {
		return inst, &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: inst.Name, Problems: problems}
	}
	host, err := c.m.rehost(inst, cfg)
	if err != nil {
		return inst, err
	}
	return c.m.states.amend(ctx, inst, func(i *Instance) { i.Config, i.Host, i.Unplugged = cfg, host, nil })
}

func (c *creator) outdated(ctx context.Context, inst Instance, cfg Config) ([]errors.Problem, error) {
	backend, err := c.m.backend(inst)
	if err != nil {
		return nil, nil // nothing was made where there is none
	}
	return c.m.imagesOf(backend).outdated(ctx, inst, cfg)
}

// sameConfig compares what two configurations mean: an empty list is no list.
func sameConfig(a, b Config) bool { return reflect.DeepEqual(canonical(a), canonical(b)) }

// orphaned reports whether inst is an ephemeral VM whose process is gone.
func (m *Manager) orphaned(inst Instance) bool {
	return inst.Config.lifetime() == Ephemeral && inst.Owner.PID != 0 && inst.Owner != m.self &&
		!proc.Alive(proc.ID(inst.Owner))
}

// Owns reports whether this Manager added the VM or started it, and no other process
// has started it since.
func (m *Manager) Owns(inst Instance) bool {
	_, mine := m.mine.Load(inst.ID)
	return mine && inst.Owner == m.self
}
