package guest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/vm"
)

// Machines is what Manager needs to know of VMs. vm.Manager implements it.
type Machines interface {
	// Get returns the record of a VM. errors.ErrVMNotFound.
	Get(ctx context.Context, ref string) (vm.Instance, error)
	// Live returns the running guest, after attaching to it if this process has not
	// yet. It returns the same value, a pointer, as long as that guest lives.
	// errors.ErrVMNotRunning.
	Live(ctx context.Context, ref string) (vm.Guest, error)
	// Guard returns a context below ctx that also ends when the guest exits, panics or
	// falls silent; context.Cause then has the typed error. The CancelFunc must be called.
	Guard(ctx context.Context, ref string) (context.Context, context.CancelFunc, error)
}

// Manager works in guests. It is safe for concurrent use. ref is everywhere a VM's
// name or its ID.
type Manager struct {
	machines Machines
	log      *slog.Logger

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	checkLimit time.Duration // see the constant
	cacheDir   string

	mu     sync.Mutex
	closed bool
	links  map[vm.Guest]*link
	wg     sync.WaitGroup // everything that runs in the background
}

// Option changes a new [Manager].
type Option func(*Manager)

// WithLogger makes the manager log sessions that open and end, at level Debug.
// Default: no log.
func WithLogger(l *slog.Logger) Option {
	return func(m *Manager) {
		if l != nil {
			m.log = l
		}
	}
}

// WithCacheDir says where the init program is kept, once it is compiled. Default:
// kernel.DefaultCacheDir. Only [Manager.Individualize] needs it, in guests with another init.
func WithCacheDir(dir string) Option { return func(m *Manager) { m.cacheDir = dir } }

// cache is Booter.cache for the same folder.
func (m *Manager) cache() (string, error) {
	if m.cacheDir != "" {
		return m.cacheDir, nil
	}
	return kernel.DefaultCacheDir()
}

// NewManager returns a manager for the guests of machines. It opens nothing yet.
func NewManager(machines Machines, opts ...Option) *Manager {
	m := &Manager{
		machines: machines,
		log:      slog.New(slog.DiscardHandler),
		links:    make(map[vm.Guest]*link),

		checkLimit: checkLimit,
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	for _, opt := range opts {
		opt(m)
	}
	return m
}

// Close ends all sessions, and the calls that use them, and waits for what runs in
// the background. The guests go on. It is idempotent.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.stop()
	m.wg.Wait()
	return nil
}

// background runs fn in a goroutine that Close waits for; fn must end soon after ctx
// does. It reports false, and runs nothing, when the manager is closed.
func (m *Manager) background(fn func(ctx context.Context)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.wg.Go(func() { fn(m.ctx) })
	return true
}

// errClosed is what calls on a closed manager return.
func errClosed(op, ref string) error {
	return &errors.Error{Kind: errors.ErrAgentUnavailable, Op: op, VM: ref, Msg: "the guest manager is closed"}
}
