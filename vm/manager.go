package vm

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/qmp"
)

// Options are what a [Manager] is made of.
type Options struct {
	Store  Store  // required
	Images Images // required
	Booter Booter // required
	// Snapshots mends images and restores memory. Nil: a VM whose record asks for memory
	// to be restored is not started, except by [ColdBoot].
	Snapshots Snapshots
	// Templates are what forks are started from. Nil: a fork is started only by [ColdBoot].
	Templates Templates
	Backends  map[string]Backend // at least one; "process" is the one an empty Config.Backend means
	// Placers choose one of Backends for VMs whose Config.Backend is the Placer's name here.
	Placers map[string]Placer
	// Dir holds the lock files (Dir/locks), the images that are made (Dir/images), and UEFI
	// variables and TPM secrets (Dir/state). It is created with mode 0700. Required.
	Dir    string
	Logger *slog.Logger // nil: nothing is logged
}

// Manager owns the instances and the cache of guests that this process works with.
// It is safe for concurrent use, also together with Managers of other processes on
// the same store and folder.
type Manager struct {
	store    Store
	booter   Booter
	snaps    Snapshots // nil: none
	forks    Templates // nil: none
	backends map[string]Backend
	placers  map[string]Placer
	log      *slog.Logger
	self     Process

	states *stateMachine
	locks  locks
	live   *liveSet
	images *imageKeeper // of files of this host, in imageDir
	state  *stateKeeper

	imageDir localPlace

	creator   *creator
	lifecycle *lifecycle
	destroyer *destroyer

	mine sync.Map // IDs of the VMs that this Manager added or started

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // calls that are under way; see enter
}

// DefaultBackend is what an empty Config.Backend means.
const DefaultBackend = "process"

// NewManager puts a Manager together. It reads and changes no VM.
func NewManager(o Options) (*Manager, error) {
	if o.Store == nil || o.Images == nil || o.Booter == nil || len(o.Backends) == 0 || o.Dir == "" {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "create VM manager",
			Msg: "a store, images, a booter, a backend and a folder are required"}
	}
	for _, dir := range []string{"locks", "images"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o700); err != nil {
			return nil, errors.Wrap(errors.ErrInvalidConfiguration, "create VM manager", "", err)
		}
	}
	self, err := proc.Self()
	if err != nil {
		return nil, errors.Wrap(errors.ErrMaqet, "create VM manager", "", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	imageDir := localPlace(filepath.Join(o.Dir, "images"))
	m := &Manager{
		store: o.Store, booter: o.Booter, snaps: o.Snapshots, forks: o.Templates, backends: o.Backends, placers: o.Placers, log: o.Logger,
		self:   Process(self),
		locks:  locks{dir: filepath.Join(o.Dir, "locks")},
		images: newImageKeeper(o.Images, o.Store, imageDir), imageDir: imageDir,
		state: &stateKeeper{dir: filepath.Join(o.Dir, "state")},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background()) // the Manager's life, ended by Close
	m.states = newStateMachine(o.Store)
	m.live = newLiveSet(m)
	m.creator = &creator{m: m}
	m.lifecycle = &lifecycle{m: m}
	m.destroyer = &destroyer{m: m}
	return m, nil
}

// Add validates cfg and records a new VM in state [Created]. A name that is taken is
// errors.ErrVMAlreadyExists, except when it belongs to an ephemeral VM whose process
// is gone: that one is removed first. A wrong configuration is an
// *errors.ConfigError with all its problems. Nothing is started and no file is made.
func (m *Manager) Add(ctx context.Context, cfg Config) (Instance, error) {
	ctx, done, err := m.begin(ctx, "add VM")
	if err != nil {
		return Instance{}, err
	}
	defer done()
	return m.creator.add(ctx, cfg)
}

// AddFork is [Manager.Add] for a copy of a template: cfg is the template's, changed by what the
// copy is to have of its own, and plugged and unplugged are as in [Instance].
func (m *Manager) AddFork(ctx context.Context, cfg Config, fork Fork, plugged []qmp.Device, unplugged []string) (Instance, error) {
	ctx, done, err := m.begin(ctx, "add fork")
	if err != nil {
		return Instance{}, err
	}
	defer done()
	return m.creator.add(ctx, cfg, func(i *Instance) {
		i.Fork, i.Plugged, i.Unplugged = &fork, plugged, unplugged
	})
}

// Apply makes the VM called cfg.Name be as cfg says: it is added when there is none,
// and changed when it is not live. Applying the same configuration twice changes
// nothing, also while the VM runs; any other change to a live VM is
// errors.ErrIllegalTransition. Another Base for a disk that keeps what the guest wrote over
// the one before is an *errors.ConfigError: it would be to no effect.
func (m *Manager) Apply(ctx context.Context, cfg Config) (Instance, error) {
	ctx, done, err := m.begin(ctx, "apply VM")
	if err != nil {
		return Instance{}, err
	}
	defer done()
	return m.creator.apply(ctx, cfg)
}

// Get returns the record of a VM, or errors.ErrVMNotFound.
func (m *Manager) Get(ctx context.Context, ref string) (Instance, error) {
	return m.store.Get(ctx, ref)
}

// List returns the records that f selects, ordered by name. It does not look at
// processes; see [Manager.Reconcile].
func (m *Manager) List(ctx context.Context, f Filter) ([]Instance, error) {
	return m.store.List(ctx, f)
}

// Start boots a VM. The steps are named by the Step constants; each undoes itself
// when a later one fails, so that a failed start leaves nothing but the record, in
// state [Failed]. The error is then an *errors.StartError.
//
// A VM that is live is errors.ErrVMAlreadyRunning. Of several processes that start
// the same VM at once, one does and the others get that error.
//
// Time is bounded by ctx and by Config.Timeouts.
func (m *Manager) Start(ctx context.Context, ref string, opts ...StartOption) (Instance, error) {
	ctx, done, err := m.begin(ctx, "start VM")
	if err != nil {
		return Instance{}, err
	}
	defer done()
	return m.lifecycle.start(ctx, ref, opts)
}

// Stop ends a VM: the guest's agent is asked, then its power button pressed, then
// QMP quit, SIGTERM and SIGKILL follow, each within its share of the time that ctx and
// Config.Timeouts.Stop leave. It returns when QEMU is gone and reaped. A VM that is
// not live is no error.
//
// When ctx is cancelled (rather than running out of time) Stop gives up, and the VM
// stays [Stopping] until the guest is gone or Stop is called again.
func (m *Manager) Stop(ctx context.Context, ref string, opts ...StopOption) (StopReport, error) {
	ctx, done, err := m.begin(ctx, "stop VM")
	if err != nil {
		return StopReport{}, err
	}
	defer done()
	return m.destroyer.stop(ctx, ref, opts)
}

// Remove forgets a VM and deletes its logs. One that is live is
// errors.ErrIllegalTransition unless [ForceRemove] is given. Disk images that were made
// for it stay, unless [DeleteImages] is given; ephemeral ones went when it stopped. The
// variables of its UEFI and the secrets of its TPM go with it, in any case: an image that
// stays and is encrypted by that TPM can't be read any more.
func (m *Manager) Remove(ctx context.Context, ref string, opts ...RemoveOption) error {
	ctx, done, err := m.begin(ctx, "remove VM")
	if err != nil {
		return err
	}
	defer done()
	return m.destroyer.remove(ctx, ref, opts)
}

// Wait returns when the VM is in one of the states; without any, when it is not live.
// It also notices what happens while no process watches the guest. When ctx ends it
// returns the last record with errors.ErrWaitTimeout and ctx's error; when the VM is
// removed, errors.ErrVMNotFound.
func (m *Manager) Wait(ctx context.Context, ref string, states ...State) (Instance, error) {
	ctx, done, err := m.begin(ctx, "wait for VM")
	if err != nil {
		return Instance{}, err
	}
	defer done()
	return m.wait(ctx, ref, states)
}

// Watch delivers changes of all VMs until ctx ends, when the channel is closed.
// Changes by this Manager come each; those of other processes as the difference to
// what was seen before, so that quick ones may come as one. A watcher that does not
// read loses its oldest events and is told how many ([Event].Dropped).
func (m *Manager) Watch(ctx context.Context) (<-chan Event, error) {
	ctx, done, err := m.begin(ctx, "watch VMs")
	if err != nil {
		return nil, err
	}
	return m.states.watch(ctx, done)
}

// Reconcile compares what is recorded with what runs, and mends the record: guests
// that are gone become [Stopped] or [Failed], persistent ones are adopted, and
// ephemeral VMs whose process is gone are removed with everything that was made for
// them. It returns what it changed, as it is now. VMs that another process is working
// on are left alone.
func (m *Manager) Reconcile(ctx context.Context) ([]Instance, error) {
	ctx, done, err := m.begin(ctx, "reconcile VMs")
	if err != nil {
		return nil, err
	}
	defer done()
	return m.reconcile(ctx)
}

// Live returns the live guest of a VM, adopting it if this process does not work
// with it yet. errors.ErrVMNotRunning when it does not run. The Manager owns the guest:
// callers must not Release it.
func (m *Manager) Live(ctx context.Context, ref string) (Guest, error) {
	ctx, done, err := m.begin(ctx, "find VM")
	if err != nil {
		return nil, err
	}
	defer done()
	lg, err := m.live.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return lg.guest, nil
}

// QMP returns the control channel of a live guest; with it a Manager is a
// qmp.Finder. The Manager owns the channel: callers must not Close it.
func (m *Manager) QMP(ctx context.Context, ref string) (qmp.Conn, error) {
	g, err := m.Live(ctx, ref)
	if err != nil {
		return nil, err
	}
	return g.QMP(), nil
}

// VMName returns the name of the VM with this ID if this process works with its guest,
// else ref itself: it is for messages, and reads no record.
func (m *Manager) VMName(ref string) string {
	if lg := m.live.entry(ref); lg != nil {
		return lg.name
	}
	return ref
}

// Guard returns a context that ends, besides with ctx, when the VM's guest exits,
// panics or, while it never gave a sign of being up, falls silent for longer than
// Config.Timeouts.Silence. context.Cause then has errors.ErrVMNotRunning or an
// *errors.GuestError. It also ends with Close. The CancelFunc must be called.
func (m *Manager) Guard(ctx context.Context, ref string) (context.Context, context.CancelFunc, error) {
	finding, done, err := m.begin(ctx, "find VM")
	if err != nil {
		return nil, nil, err
	}
	defer done()
	lg, err := m.live.get(finding, ref)
	if err != nil {
		return nil, nil, err
	}
	gctx, cancel := lg.guard(ctx)
	return gctx, cancel, nil
}

// Close lets go of every guest and ends the Manager's goroutines. Calls that are
// under way are cancelled and waited for: a start is undone. It stops no guest; the backends, which are
// closed by who made them, end ephemeral ones. It is idempotent.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.calls.Wait() // before the guests are let go: the undoing of a start needs its own
	m.states.wait()
	return m.live.close()
}

// enter registers a call that Close waits for; m.calls.Done ends it. It reports false
// when the Manager is closed.
func (m *Manager) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.calls.Add(1)
	}
	return !m.closed
}

func errClosed(op string) error {
	return &errors.Error{Kind: errors.ErrVMLifecycle, Op: op, Msg: "the manager was closed", Err: context.Canceled}
}

// begin registers a call that Close waits for, and cancels it when Close is called.
func (m *Manager) begin(ctx context.Context, op string) (context.Context, context.CancelFunc, error) {
	if ctx.Err() != nil {
		return nil, nil, errors.Wrap(errors.ErrVMLifecycle, op, "", context.Cause(ctx))
	}
	if !m.enter() {
		return nil, nil, errClosed(op)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(m.ctx, func() { cancel(errClosed(op)) })
	return ctx, func() {
		stop()
		cancel(nil)
		m.calls.Done()
	}, nil
}

// Snapshotter returns the backend of a VM if that keeps snapshots by its own means; nil: it does
// not.
func (m *Manager) Snapshotter(inst Instance) (Snapshotter, error) {
	b, err := m.backend(inst)
	own, _ := b.(Snapshotter)
	return own, err
}
