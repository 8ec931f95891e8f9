package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/adrg/xdg"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Name is what Runtime.Backend says of guests of this backend.
const Name = "process"

// Options configure a [Backend]. The zero value works.
type Options struct {
	// RuntimeDir holds a folder of sockets for each live guest. Its path must be short:
	// a socket's may have 107 bytes. Empty: maqet below XDG_RUNTIME_DIR, or
	// /tmp/maqet-UID where that is not set.
	RuntimeDir string
	// LogDir holds a folder for each VM with its console and QEMU's stderr. Empty:
	// maqet/vms below the XDG data folder.
	LogDir string
	// CacheDir remembers what QEMU binaries can do. Empty: maqet below the XDG cache
	// folder.
	CacheDir string
	// Logger gets what was chosen and why, at level debug. Nil: nothing is logged.
	Logger *slog.Logger
}

// Backend runs guests as child processes. It implements vm.Backend and is safe for
// concurrent use.
type Backend struct {
	opts   Options
	log    *slog.Logger
	prober *prober
	kvm    func() error // nil: KVM can run guests here; asked once

	// forks starts ephemeral guests, which end with the thread that forked them.
	forks thread

	mu        sync.Mutex
	ephemeral map[*process]struct{} // those that must be gone before forks ends
	closed    bool
}

var _ vm.Backend = (*Backend)(nil)

// New returns a Backend. It makes its folders, with mode 0700, and starts nothing. A
// runtime folder that belongs to somebody else, or to which others can write, is refused:
// they could take the guests over.
func New(o Options) (*Backend, error) {
	if o.RuntimeDir == "" {
		o.RuntimeDir = defaultRuntimeDir()
	}
	if o.LogDir == "" {
		o.LogDir = filepath.Join(xdg.DataHome, "maqet", "vms")
	}
	if o.CacheDir == "" {
		o.CacheDir = filepath.Join(xdg.CacheHome, "maqet")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []string{o.RuntimeDir, o.LogDir} {
		if err := ownDir(dir); err != nil {
			return nil, errors.Wrap(errors.ErrInvalidConfiguration, "create process backend", "", err)
		}
	}
	return &Backend{
		opts: o, log: o.Logger, ephemeral: map[*process]struct{}{},
		prober: &prober{dir: filepath.Join(o.CacheDir, "qemu"), known: map[string]probed{}},
		kvm:    sync.OnceValue(checkKVM),
	}, nil
}

func defaultRuntimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "maqet")
	}
	return filepath.Join("/tmp", "maqet-"+strconv.Itoa(os.Getuid()))
}

// ownDir makes a folder, or checks that nobody else can put anything in it.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a folder, or a symbolic link to one", dir)
	case int(st.Uid) != os.Getuid():
		return fmt.Errorf("%s belongs to user %d", dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s can be written by others: chmod it to 0700", dir)
	}
	return nil
}

// Check implements vm.Backend.
func (b *Backend) Check(ctx context.Context, id string, cfg vm.Config) error {
	if err := checkSocketPaths(b.vmDir(id)); err != nil {
		return err
	}
	host, err := b.resolve(ctx, cfg)
	if err != nil {
		return err
	}
	// The real boot files and images are not known yet; which options there will be is.
	dry := vm.LaunchSpec{ID: id, Config: cfg, Boot: vm.BootFiles{Kernel: "kernel", Initrd: "initrd", Default: true}}
	for i, d := range cfg.Disks {
		dry.Images = append(dry.Images, vm.Image{Name: d.NameAt(i), Path: "/image", Format: vm.FormatRaw})
	}
	_, err = build(dry, host, b.files(id))
	return err
}

// scaleTCG is how much slower things go without hardware to help.
const scaleTCG = 4

// Timeouts implements vm.Backend.
func (b *Backend) Timeouts(ctx context.Context, cfg vm.Config) vm.Timeouts {
	factor := time.Duration(1)
	if host, err := b.resolve(ctx, cfg); err != nil || host.accel == "tcg" {
		factor = scaleTCG
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

// Close implements vm.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	var left []*process
	for p := range b.ephemeral {
		left = append(left, p)
	}
	b.mu.Unlock()
	var errs []error
	for _, p := range left {
		p.kill()
		errs = append(errs, p.close())
		b.forget(p)
	}
	b.forks.stop()
	return errors.Join(errs...)
}

func (b *Backend) remember(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ephemeral[p] = struct{}{}
}

func (b *Backend) forget(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ephemeral, p)
}
