package libvirt

import (
	"context"
	"log/slog"
	"time"

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
	// Pool is the storage pool in which volumes are made. Empty: "maqet", which is made when it
	// is needed and is not there.
	Pool string
	// Grace is how long the host may be out of reach until its guests count as unreachable.
	// 0: 10 s.
	Grace time.Duration
	// Timeout bounds each call to libvirt that has no earlier deadline of its own, but those
	// that take as long as there is data. 0: 60 s.
	Timeout time.Duration
	// Logger gets what is done. Nil: nothing is logged.
	Logger *slog.Logger
}

// DefaultName is what a backend is called by default.
const DefaultName = "libvirt"

// Backend runs guests as libvirt domains on one host. It implements vm.Backend and is safe for
// concurrent use.
type Backend struct {
	opts   Options
	log    *slog.Logger
	host   *host
	events *eventHub
}

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
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := newHost(o)
	if err != nil {
		return nil, err
	}
	return &Backend{opts: o, log: o.Logger, host: h, events: newEventHub(h.dial, h.driverURI, o.Logger)}, nil
}

// Timeouts implements vm.Backend.
func (b *Backend) Timeouts(_ context.Context, cfg vm.Config) vm.Timeouts { return cfg.Timeouts }

// Close implements vm.Backend.
func (b *Backend) Close() error {
	b.events.close()
	return b.host.close()
}
