package maqet

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/maqet/maqet/cleanup"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
)

// Maqet is the assembled library: one manager for each domain, wired together. The
// fields are for use, not for change. It is safe for concurrent use, and several
// processes may work on the same folder.
type Maqet struct {
	VM      *vm.Manager
	QMP     *qmp.Manager
	Guest   *guest.Manager
	Storage *storage.Manager
	// Snapshot makes, loads, lists and deletes snapshots, and makes backups.
	Snapshot *snapshot.Coordinator
	Cleanup  *cleanup.Coordinator

	owned []closer // what New made, in the order to close it
	once  sync.Once
	err   error

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	runs   sync.WaitGroup // calls of Run that Close waits for; Add only under mu while not closed
	pools  map[*Pool]struct{}
}

type closer struct {
	what string
	fn   func() error
}

// New assembles a Maqet. Without options it keeps its records in the user's XDG data
// folder, its sockets in the XDG runtime folder, and runs guests as QEMU processes.
// It makes the folders it needs, and starts nothing.
func New(opts ...Option) (*Maqet, error) {
	s, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	m := &Maqet{pools: map[*Pool]struct{}{}}
	m.ctx, m.cancel = context.WithCancel(context.Background()) // the library's life, ended by Close
	if err := m.assemble(s); err != nil {
		m.cancel()
		return nil, errors.Join(err, m.release())
	}
	return m, nil
}

func (m *Maqet) assemble(s *settings) (err error) {
	recs, err := m.openRecords(s)
	if err != nil {
		return err
	}
	m.Storage, err = storage.NewManager(storage.Options{Root: filepath.Join(s.data, "images"), Registry: recs.files, Logger: s.logger})
	if err != nil {
		return err
	}
	templates, err := snapshot.NewTemplates(snapshot.TemplatesOptions{Dir: filepath.Join(s.data, "templates"), Images: m.Storage,
		Identities: m.identities, Logger: s.logger})
	if err != nil {
		return err
	}
	m.own("templates", templates.Close) // once the backend's guests have ended
	backends := s.backends
	if backends[vm.DefaultBackend] == nil {
		backend, err := process.New(process.Options{
			RuntimeDir: s.runtime, LogDir: filepath.Join(s.data, "vms"), CacheDir: s.cache, Logger: s.logger,
		})
		if err != nil {
			return err
		}
		backends[vm.DefaultBackend] = backend
		m.own("backend", backend.Close)
	}
	placers, err := m.addLibvirts(s, recs.files)
	if err != nil {
		return err
	}
	keeper, err := snapshot.NewKeeper(snapshot.KeeperOptions{Images: m.Storage, Records: recs.snapshots, Logger: s.logger})
	if err != nil {
		return err
	}
	m.VM, err = vm.NewManager(vm.Options{
		Store: recs.vms, Images: m.Storage, Snapshots: keeper, Templates: templates, Backends: backends, Placers: placers, Dir: s.data, Logger: s.logger,
		Booter: guest.NewBooter(guest.BooterOptions{CacheDir: s.cache, Logger: s.logger}),
	})
	if err != nil {
		return err
	}
	m.own("VM manager", m.VM.Close)
	m.QMP = qmp.NewManager(m.VM, qmp.WithPolicy(s.policy), qmp.WithLogger(s.logger), qmp.WithRecorder(m.VM), qmp.WithReserved(process.Reserved))
	m.Guest = guest.NewManager(m.VM, guest.WithLogger(s.logger), guest.WithCacheDir(s.cache))
	m.own("guest manager", m.Guest.Close)
	m.Cleanup = cleanup.New(m.VM, cleanup.Sweeping("template", templates.Sweep))
	m.Snapshot, err = snapshot.New(snapshot.Options{Keeper: keeper, VMs: m.VM, Freezer: m.Guest, Files: m.Guest, Sessions: m.Guest, Templates: templates, Logger: s.logger})
	return err
}

// identities gives forks theirs. Templates come before the guest manager, which needs the VM
// manager, which needs them; no guest is started before New is through.
func (m *Maqet) identities() snapshot.Identities {
	if m.Guest == nil {
		return nil
	}
	return m.Guest
}

func (m *Maqet) own(what string, fn func() error) {
	m.owned = append(m.owned, closer{what, fn})
}

// Run adds a VM, starts it and returns when it is ready: when opts has no vm.WaitFor,
// that is when its agent answers. If anything fails nothing of the VM is left, and the
// error says why, with the evidence (see errors.StartError).
func (m *Maqet) Run(ctx context.Context, cfg vm.Config, opts ...vm.StartOption) (*Machine, error) {
	ctx, done, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	inst, err := m.VM.Add(ctx, cfg)
	if err != nil {
		return nil, err
	}
	machine := &Machine{m: m, id: inst.ID, name: inst.Name}
	if err := machine.Start(ctx, opts...); err != nil {
		gone := m.VM.Remove(context.WithoutCancel(ctx), inst.ID, vm.DeleteImages())
		if errors.Is(gone, errors.ErrVMNotFound) {
			gone = nil // somebody else was quicker
		}
		return nil, errors.Join(err, gone)
	}
	return machine, nil
}

// begin registers a call that Close cancels and waits for.
func (m *Maqet) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	closed := &errors.Error{Kind: errors.ErrVMLifecycle, Op: "run VM", Msg: "maqet was closed", Err: context.Canceled}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, closed
	}
	m.runs.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.ctx, func() { cancel(closed) })
	return ctx, func() {
		stop()
		cancel(nil)
		m.runs.Done()
	}, nil
}

// Machine returns the handle of a recorded VM, by name or ID.
func (m *Maqet) Machine(ctx context.Context, ref string) (*Machine, error) {
	inst, err := m.VM.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &Machine{m: m, id: inst.ID, name: inst.Name}, nil
}

// Close stops and removes the ephemeral VMs that were added or started here; persistent
// ones go on running. Calls that are under way are cancelled and undone. It ends
// everything that New began, and is idempotent: later calls return what the first one
// did.
func (m *Maqet) Close() error {
	m.once.Do(func() {
		m.mu.Lock()
		m.closed = true
		m.mu.Unlock()
		m.cancel()
		m.runs.Wait() // they clear away what they made
		m.err = errors.Join(m.closePools(), m.stopEphemeral(), m.release())
	})
	return m.err
}

func (m *Maqet) stopEphemeral() error {
	_, err := m.Cleanup.StopAll(context.Background(), cleanup.AndRemove(),
		cleanup.Matching(vm.Filter{Lifetime: vm.Ephemeral}), cleanup.Only(m.VM.Owns))
	return err
}

func (m *Maqet) release() error {
	var errs []error
	for i := len(m.owned) - 1; i >= 0; i-- {
		errs = append(errs, errors.Wrap(errors.ErrMaqet, "close "+m.owned[i].what, "", m.owned[i].fn()))
	}
	return errors.Join(errs...)
}
