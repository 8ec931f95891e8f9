package backendtest

import (
	"context"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
)

// house is a place with a vm.Manager on its backend.
type house struct {
	*place
	*vm.Manager
	store  *memory.Store
	images *storage.Manager
	booter vm.Booter
	dir    string
}

// booter boots every VM from the same files, or fails.
type booter struct {
	files vm.BootFiles
	err   error
}

func (b *booter) ResolveBoot(context.Context, vm.Config) (vm.BootFiles, error) { return b.files, b.err }

// house returns a manager whose VMs boot what b finds; nil: the suite's own guest, where the
// backend can, or nothing.
func (p *place) house(b vm.Booter) *house {
	p.Helper()
	h := &house{place: p, store: memory.New(), booter: b, dir: p.TempDir()}
	if b == nil {
		own := &booter{}
		if !p.lacks(PC) {
			own.files = p.pcBoot()
		}
		h.booter = own
	}
	var err error
	h.images, err = storage.NewManager(storage.Options{Root: filepath.Join(h.dir, "images"), Registry: h.store})
	require.NoError(p, err)
	h.Manager = h.manager(p.b)
	p.Cleanup(h.clear)
	return h
}

// manager returns a manager on the same records and folders.
func (h *house) manager(b vm.Backend) *vm.Manager {
	h.Helper()
	m, err := vm.NewManager(vm.Options{Store: h.store, Images: h.images, Booter: h.booter, Dir: h.dir,
		Backends: map[string]vm.Backend{h.backendName(): b}})
	require.NoError(h, err)
	h.Cleanup(func() { require.NoError(h, m.Close()) })
	return m
}

// other returns the manager of another process, with a backend of its own.
func (h *house) other() *vm.Manager {
	h.Helper()
	return h.manager(h.open())
}

// clear ends and removes all VMs.
func (h *house) clear() {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.Context()), h.patience)
	defer cancel()
	m := h.manager(h.b) // the case may have closed its own
	list, err := m.List(ctx, vm.Filter{})
	require.NoError(h, err)
	for _, inst := range list {
		require.NoError(h, m.Remove(ctx, inst.ID, vm.ForceRemove(), vm.DeleteImages()))
	}
	files, err := h.store.Files(ctx, storage.FileFilter{})
	require.NoError(h, err)
	require.Empty(h, files, "images that were made for the VMs")
}

// add records a VM.
func (h *house) add(cfg vm.Config) vm.Instance {
	h.Helper()
	inst, err := h.Add(h.patient(), h.spec(cfg).Config)
	require.NoError(h, err)
	return inst
}

// start adds a VM and starts it.
func (h *house) start(cfg vm.Config, opts ...vm.StartOption) vm.Instance {
	h.Helper()
	inst, err := h.Start(h.patient(), h.add(cfg).ID, opts...)
	require.NoError(h, err)
	return inst
}

// paused starts a VM whose CPUs don't run.
func (h *house) paused(cfg vm.Config) vm.Instance {
	h.Helper()
	return h.start(cfg, vm.StartPaused())
}

// pcVM starts a VM that runs the suite's own guest, and returns when it is up.
func (h *house) pcVM(cfg vm.Config) (vm.Instance, *launched) {
	h.Helper()
	inst := h.start(cfg)
	live, err := h.Live(h.patient(), inst.ID)
	require.NoError(h, err)
	g := &launched{live, vm.LaunchSpec{ID: inst.ID, Config: inst.Config}}
	h.consoleBecomes(g, pcBanner)
	return inst, g
}

// becomes waits until the VM is in a state.
func (h *house) becomes(m *vm.Manager, ref string, states ...vm.State) vm.Instance {
	h.Helper()
	inst, err := m.Wait(h.patient(), ref, states...)
	require.NoError(h, err)
	return inst
}

// is fails unless the record says this, now.
func (h *house) is(ref string, state vm.State, reason string) vm.Instance {
	h.Helper()
	inst, err := h.Get(h.patient(), ref)
	require.NoError(h, err)
	require.Equal(h, state, inst.State, inst.Reason)
	require.Equal(h, reason, inst.Reason)
	return inst
}

// changes collects what a watcher sees of a VM until it is in a state.
func (h *house) changes(events <-chan vm.Event, id string, until vm.State) (seen []vm.Event) {
	h.Helper()
	for {
		select {
		case ev, ok := <-events:
			require.True(h, ok, "the watch ended")
			if ev.ID != id {
				continue
			}
			if seen = append(seen, ev); ev.To == until {
				return seen
			}
		case <-time.After(h.patience):
			require.Fail(h, "no event", "until %s, after %+v", until, seen)
		}
	}
}

// failing is a condition that never holds: it waits for its context, or says why.
type failing struct{ err error }

func (f failing) Wait(ctx context.Context, _ string) error {
	if f.err != nil {
		return f.err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (f failing) String() string { return "what never is" }

// begins is a start option that calls fn when a step begins.
func begins(step string, fn func()) vm.StartOption {
	return vm.OnStep(func(s vm.Step) {
		if s.Name == step && s.Duration == 0 {
			fn()
		}
	})
}
