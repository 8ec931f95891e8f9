package libvirt

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/adrg/xdg"
	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Options configure a [Backend]. URI is required.
type Options struct {
	// URI says which libvirt to use, as libvirt writes it: "qemu:///system",
	// "qemu:///session?socket=/run/...", "qemu+ssh://user@host/system", "qemu+tls://host/system",
	// "qemu+tcp://host/system", "test:///default".
	URI string
	// Name is what Config.Backend and Runtime.Backend call it. Empty: "libvirt".
	Name string
	// LogDir holds a folder for each VM with what its console printed. Empty: maqet/vms below
	// the XDG data folder.
	LogDir string
	// Pool is the storage pool in which volumes are made. Empty: [DefaultPool], which is made when
	// it is needed and is not there.
	Pool string
	// Files records the volumes that are made for VMs: only what is recorded is deleted. Nil: a
	// registry in memory, which forgets with the Backend.
	Files storage.Registry
	// Grace is how long the host may be out of reach until its guests count as unreachable.
	// 0: 10 s.
	Grace time.Duration
	// Timeout bounds each call to libvirt that has no earlier deadline of its own, but commands
	// for QEMU and for the guest's agent, and what takes as long as there is data. 0: 60 s.
	Timeout time.Duration
	// Logger gets what is done. Nil: nothing is logged.
	Logger *slog.Logger
}

// DefaultName is what a backend is called by default.
const DefaultName = "libvirt"

// Backend runs guests as libvirt domains on one host. It implements vm.Backend and is safe for
// concurrent use.
type Backend struct {
	opts Options
	log  *slog.Logger
	host *host
	// events of all domains, over a connection of their own
	events *eventHub

	volumes *volumes // nil: guests use files of this host

	life context.Context // ends when Close begins
	end  context.CancelFunc
	work sync.WaitGroup // launches, also those that nobody awaits any more; Add only through begin

	outage outage // that Attach has met

	mu        sync.Mutex
	closed    bool
	ephemeral map[*guest]struct{} // those that Close ends: launched here, and not gone yet
}

var (
	_ vm.Backend  = (*Backend)(nil)
	_ vm.Surveyor = (*Backend)(nil)
)

// New returns a Backend. It connects to nothing: the first call that needs libvirt does. A URI
// that can't be right is an *errors.ConfigError.
func New(o Options) (*Backend, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.LogDir == "" {
		o.LogDir = filepath.Join(xdg.DataHome, "maqet", "vms")
	}
	if o.Pool == "" {
		o.Pool = DefaultPool
	}
	if o.Files == nil {
		o.Files = new(storage.MemoryRegistry)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := newHost(o)
	if err != nil {
		return nil, err
	}
	b := &Backend{opts: o, log: o.Logger, host: h, ephemeral: map[*guest]struct{}{}}
	b.events = newEventHub(h.dial, h.driverURI, b.log)
	b.life, b.end = context.WithCancel(context.Background()) // the backend's life, ended by Close
	if !h.inPlace() {
		b.volumes, err = newVolumes(b)
	}
	return b, err
}

// scaleTCG is how much slower things go without hardware to help.
const scaleTCG = 4

// Timeouts implements vm.Backend. It asks no host: where a Config leaves the accelerator to one
// that Check has not asked yet, they are those of TCG.
func (b *Backend) Timeouts(_ context.Context, cfg vm.Config) vm.Timeouts {
	factor := time.Duration(scaleTCG)
	if f, ok := b.host.known.get(keyOf(cfg)); cfg.Accel == "kvm" || ok && f.domainType == typeKVM {
		factor = 1
	}
	or := func(set vm.Duration, byDefault time.Duration) vm.Duration {
		if set > 0 {
			return set
		}
		return vm.Duration(byDefault * factor)
	}
	t := cfg.Timeouts
	return vm.Timeouts{
		Launch:  or(t.Launch, 15*time.Second),
		Ready:   or(t.Ready, time.Minute),
		Silence: or(t.Silence, 20*time.Second),
		Stop:    or(t.Stop, 10*time.Second),
	}
}

// begin registers work that Close waits for; done ends it. Nobody awaits it any more when wanted
// ends: that is with parent or the Backend. ctx goes on then, for endTime at most after Close:
// what was begun on the host is brought to an end, or nobody would know what to undo.
func (b *Backend) begin(parent context.Context, op, name string) (ctx, wanted context.Context, done func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, nil, closedError(op, name)
	}
	b.work.Add(1)
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	wanted, giveUp := context.WithCancelCause(parent)
	timer := time.AfterFunc(endTime, func() { cancel(closedError(op, name)) })
	timer.Stop()
	stop := context.AfterFunc(b.life, func() {
		giveUp(closedError(op, name))
		timer.Reset(endTime)
	})
	return ctx, wanted, func() {
		stop()
		timer.Stop()
		cancel(nil)
		giveUp(nil)
		b.work.Done()
	}, nil
}

func closedError(op, name string) error {
	return &errors.Error{Kind: errors.ErrBackend, Op: op, VM: name, Msg: "the backend was closed", Err: errClosed}
}

// endTime bounds what Close does for each ephemeral guest, and what is undone after a failure.
const endTime = 15 * time.Second

// Close implements vm.Backend. Launches that are under way are cancelled, undone and waited for.
// Ephemeral guests that were launched here are destroyed; where the host does not answer,
// libvirtd does it as soon as it sees that this connection has ended, unless it was killed and
// started again since the launch: then the guest goes on until somebody reconciles.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.end()
	b.work.Wait() // none is added from here on
	b.mu.Lock()
	left := b.ephemeral
	b.ephemeral = map[*guest]struct{}{}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), endTime) // bounded; Close has no context
	defer cancel()
	var group errgroup.Group
	for g := range left {
		group.Go(func() error {
			if err := b.destroy(ctx, g.name, g.domain(), 0); err != nil {
				b.log.Warn("ephemeral guest left to libvirtd to end", "vm", g.name, "error", err)
				return g.Release()
			}
			select {
			case <-g.done: // told by an event
			case <-g.life.Done(): // released before
			case <-ctx.Done():
			}
			return g.Release()
		})
	}
	err := group.Wait()
	b.events.close()
	return errors.Join(err, b.host.close())
}

// keep has Close end an ephemeral guest, unless it is gone already.
func (b *Backend) keep(g *guest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !g.gone() {
		b.ephemeral[g] = struct{}{}
	}
}

// forget is for an ephemeral guest that is gone, which shows in Done before, or that is nobody's.
func (b *Backend) forget(g *guest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ephemeral, g)
}

// destroy ends a domain at once. One that does not run is no error.
func (b *Backend) destroy(ctx context.Context, name string, dom libvirt.Domain, flags libvirt.DomainDestroyFlagsValues) error {
	err := b.host.call(ctx, "destroy VM", name, func(l *libvirt.Libvirt) error {
		return l.DomainDestroyFlags(dom, flags)
	})
	if hasCode(err, libvirt.ErrNoDomain, libvirt.ErrOperationInvalid) {
		return nil
	}
	return err
}
