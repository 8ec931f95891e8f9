package vm

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/maqet/maqet/errors"
)

// Placer chooses the backend of VMs whose Config.Backend names no backend but several to choose
// from, such as "any"; see [Options].
type Placer interface {
	// Place returns the name of the backend that is to run inst, which is about to be started
	// and is on no backend, or has nothing there that lasts. Where none can,
	// errors.ErrInvalidConfiguration says why for each.
	Place(ctx context.Context, inst Instance) (string, error)
}

// unplaced reports whether the VM has never been on a backend, because its start chooses one.
func (m *Manager) unplaced(inst Instance) bool {
	return inst.Host == "" && m.placers[inst.Config.backendName()] != nil
}

// backend returns the backend that a VM is on.
func (m *Manager) backend(inst Instance) (Backend, error) {
	if m.unplaced(inst) {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "find the host", VM: inst.Name,
			Msg: "it is on none yet", Hint: "its next start chooses one"}
	}
	name := m.on(inst)
	if b, ok := m.backends[name]; ok {
		return b, nil
	}
	return nil, m.noBackend(inst.Name, name)
}

func (c Config) backendName() string {
	if c.Backend == "" {
		return DefaultBackend
	}
	return c.Backend
}

// knows fails when there is no such backend, and nobody who would choose one.
func (m *Manager) knows(cfg Config) error {
	name := cfg.backendName()
	if m.backends[name] != nil || m.placers[name] != nil {
		return nil
	}
	return m.noBackend(cfg.Name, name)
}

func (m *Manager) noBackend(vm, name string) error {
	names := append(m.backendNames(), slices.Sorted(maps.Keys(m.placers))...)
	return &errors.ConfigError{VM: vm, Problems: []errors.Problem{{
		Field: "backend", Value: name, Message: "is not configured", Fix: fmt.Sprintf("use one of %v", names),
	}}}
}

// place decides which backend a start is on, and returns what [Instance].Host is to be. A VM
// with something that lasts stays where that is.
func (m *Manager) place(ctx context.Context, inst Instance) (string, error) {
	if inst.Host != "" && inst.anchored() {
		return inst.Host, nil
	}
	placer := m.placers[inst.Config.backendName()]
	if placer == nil {
		return "", nil
	}
	host, err := placer.Place(ctx, inst)
	if err != nil {
		return "", err
	}
	if m.backends[host] == nil {
		return "", m.noBackend(inst.Name, host)
	}
	return host, nil
}

// anchored reports whether the next start needs what an earlier one has left on its backend.
func (i Instance) anchored() bool {
	return i.ImagesKept || i.Restore != "" || i.Snapshot != "" || len(i.Layers) > 0 || !i.Config.startedAnew()
}

// rehost returns what Instance.Host becomes when the VM's configuration does. Until the next start
// the VM is where it was, which has to forget it then; and images that were made there don't move.
func (m *Manager) rehost(inst Instance, cfg Config) (string, error) {
	on, to := m.on(inst), cfg.backendName()
	switch {
	case inst.State == Created || to == on:
		return "", nil
	case to == inst.Config.backendName() || m.placers[to] != nil || !inst.keepsImages():
		return on, nil
	}
	return "", &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: inst.Name, Problems: []errors.Problem{{
		Field: "backend", Value: to, Message: "is another one than " + on + ", where the VM's disks are",
		Fix: "move it with Migrate while it runs, or remove it and add it anew"}}}
}

// keepsImages reports whether there are images that were made for the VM and outlast its guest.
func (i Instance) keepsImages() bool {
	return i.ImagesKept || i.Snapshot != "" || len(i.Layers) > 0 || slices.ContainsFunc(i.Config.Disks, func(d Disk) bool {
		return !d.inPlace() && !d.emptyTray() && d.keeps(i.Config.lifetime())
	})
}

// abandon has the backend that a VM was on before forget it, and deletes there what nobody could
// when its last guest ended. One that doesn't answer keeps what it has: nothing of it is needed.
func (s *start) abandon(ctx context.Context, left Instance) {
	old := s.m.backends[s.former]
	if old == nil {
		return
	}
	err := old.Erase(ctx, left)
	if images := s.m.imagesOf(old); err == nil {
		err = errors.Join(images.unseed(ctx, left), images.releaseAll(ctx, left))
	}
	if err != nil {
		s.m.log.WarnContext(ctx, "VM not forgotten where it was before", "vm", left.Name, "backend", s.former, "error", err)
	}
}
