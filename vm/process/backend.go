package process

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/adrg/xdg"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/kvm"
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
	// Logger gets what was chosen and why, and the command lines, at level debug. Nil:
	// nothing is logged.
	Logger *slog.Logger
}

// Backend runs guests as child processes. It implements vm.Backend and is safe for
// concurrent use.
type Backend struct {
	opts      Options
	log       *slog.Logger
	prober    *prober
	virtiofsd *virtiofsdFinder
	kvm       func() error // nil: KVM can run guests here; asked once

	segments *segments

	// forks starts what must end with this process, and does end with the thread that
	// forked it.
	forks thread

	mu       sync.Mutex
	children map[*process]child // every QEMU that was executed here, until it ends
	closed   bool
	launches sync.WaitGroup // those under way
}

// child is what Close needs to know of a QEMU.
type child struct {
	ephemeral bool
	dir       string // of its sockets
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
	for _, dir := range []*string{&o.RuntimeDir, &o.LogDir, &o.CacheDir} {
		var err error
		if *dir, err = filepath.Abs(*dir); err == nil && dir != &o.CacheDir {
			err = ownDir(*dir)
		}
		if err != nil {
			return nil, errors.Wrap(errors.ErrInvalidConfiguration, "create process backend", "", err)
		}
	}
	b := &Backend{opts: o, log: o.Logger, segments: newSegments(o.Logger), children: map[*process]child{}, kvm: sync.OnceValue(kvm.Check)}
	start := func(cmd *exec.Cmd) error { return b.forks.run(cmd.Start) }
	b.virtiofsd = newVirtiofsdFinder(start)
	b.prober = newProber(filepath.Join(o.CacheDir, "qemu"), start)
	return b, nil
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
	_, err = build(rehearsal(id, cfg), host, b.files(id))
	return err
}

// rehearsal is the specification of a start whose boot files and images are not known
// yet. Which options there will be is.
func rehearsal(id string, cfg vm.Config) vm.LaunchSpec {
	spec := vm.LaunchSpec{ID: id, Config: cfg}
	for i, d := range cfg.Disks {
		spec.Images = append(spec.Images, vm.Image{Name: d.NameAt(i), Path: "/image", Format: vm.FormatRaw})
	}
	if !cfg.FromDisk() {
		spec.Boot = vm.BootFiles{Kernel: "kernel", Initrd: "initrd", Default: true}
	}
	if strings.ContainsRune(cfg.Boot.Firmware, '/') { // others are names in QEMU's data folder
		spec.Boot.Firmware = cfg.Boot.Firmware
	}
	return spec
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

// Close implements vm.Backend. Guests of this backend must be released by who has
// them; it is idempotent.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.launches.Wait() // no child is added from here on
	b.mu.Lock()
	left := b.children
	b.children = map[*process]child{}
	b.mu.Unlock()
	for p, c := range left {
		if c.ephemeral {
			_ = p.signal(unix.SIGKILL) // an error means that it is gone
		}
	}
	var errs []error
	for p, c := range left {
		if c.ephemeral {
			<-p.done()
			errs = append(errs, b.removeSockets(c.dir))
		}
		errs = append(errs, p.close())
	}
	b.forks.stop()
	return errors.Join(append(errs, b.segments.close())...)
}

// launching registers a launch, which Close waits for; done ends it.
func (b *Backend) launching() (done func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	b.launches.Add(1)
	return b.launches.Done, nil
}

// keep makes a new QEMU the backend's, and forgets those that have ended.
func (b *Backend) keep(p *process, c child) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.children, func(p *process, _ child) bool { return p.gone() })
	b.children[p] = c
}

// letGo ends the watch on a process for a guest that is released. A child that lives
// stays the backend's until Close: somebody has to reap it, and the thread that forked
// an ephemeral one must outlive it.
func (b *Backend) letGo(p *process) error {
	b.mu.Lock()
	_, kept := b.children[p]
	if kept && p.gone() {
		delete(b.children, p)
		kept = false
	}
	b.mu.Unlock()
	if kept {
		return nil
	}
	return p.close()
}
