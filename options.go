package maqet

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"

	"github.com/adrg/xdg"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// Option changes what [New] assembles.
type Option func(*settings)

type settings struct {
	data, runtime, cache string
	logger               *slog.Logger
	store                vm.Store
	backends             map[string]vm.Backend
	libvirts             []libvirtHost
	policy               qmp.Policy
}

// WithDir keeps everything below one folder: records, disks, logs, and sockets in
// dir/run. Only what can be made again at any time stays in the user's cache folder:
// kernels, and the default guest built from them. A folder with a long path leaves no
// room for sockets (107 characters in all); then use [WithRuntimeDir] as well.
func WithDir(dir string) Option {
	return func(s *settings) { s.data, s.runtime = dir, filepath.Join(dir, "run") }
}

// WithRuntimeDir sets the folder of the sockets. Default: maqet below XDG_RUNTIME_DIR,
// or /tmp/maqet-UID where there is none.
func WithRuntimeDir(dir string) Option { return func(s *settings) { s.runtime = dir } }

// WithCacheDir sets the folder of what is derived and can be made again: kernels, the
// init program, initial RAM disks, what QEMU binaries can do. Default: maqet below
// XDG_CACHE_HOME. Processes share it.
func WithCacheDir(dir string) Option { return func(s *settings) { s.cache = dir } }

// WithLogger sets where to log. Default: nowhere.
func WithLogger(l *slog.Logger) Option { return func(s *settings) { s.logger = l } }

// WithStore sets where VMs are recorded; the caller closes it. Snapshots and the images that
// were made are recorded there, too, if it is a snapshot.Records and a storage.Registry, as
// vm/memory.Store is. Default, also for those two: an SQLite file in the data folder.
func WithStore(store vm.Store) Option { return func(s *settings) { s.store = store } }

// WithBackend adds a backend that Config.Backend can name, or replaces "process"; the
// caller closes it.
func WithBackend(name string, b vm.Backend) Option {
	return func(s *settings) { s.backends[name] = b }
}

// WithLibvirt adds the backend "libvirt" ([libvirt.DefaultName]), which runs guests as domains
// of the libvirt at uri: "qemu:///system", "qemu:///session", "qemu+ssh://user@host/system" and
// whatever else [libvirt.Options] takes. A VM is run by it when its Config.Backend says so. New
// connects to nothing; the first call that needs the host does. Close closes it.
func WithLibvirt(uri string) Option {
	return func(s *settings) { s.libvirts = append(s.libvirts, libvirtHost{name: libvirt.DefaultName, uri: uri}) }
}

// WithLibvirtHost is [WithLibvirt] for a backend called name, and for several: it may be given as
// often as there are hosts. A VM is run by this host when its Config.Backend is name, and by any of
// these hosts that has room when it is "any". The name may not be empty, "process", "any", or
// that of another backend; a wrong one is an *errors.ConfigError of New.
func WithLibvirtHost(name, uri string) Option {
	return func(s *settings) { s.libvirts = append(s.libvirts, libvirtHost{name: name, uri: uri, placed: true}) }
}

// WithPolicy sets which QMP commands Maqet.QMP lets through. Default: the zero Policy,
// which denies the dangerous ones.
func WithPolicy(p qmp.Policy) Option { return func(s *settings) { s.policy = p } }

func newSettings(opts []Option) (*settings, error) {
	s := &settings{backends: map[string]vm.Backend{}}
	for _, o := range opts {
		o(s)
	}
	s.backends = maps.Clone(s.backends)
	if s.data == "" {
		s.data = filepath.Join(xdg.DataHome, "maqet")
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []*string{&s.data, &s.runtime, &s.cache} {
		if *dir == "" {
			continue // the part that uses it has a default of its own
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return nil, errors.Wrap(errors.ErrInvalidConfiguration, "find folder "+*dir, "", err)
		}
		*dir = abs
	}
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "create data folder", Err: err,
			Hint: fmt.Sprintf("choose another than %s with maqet.WithDir", s.data)}
	}
	return s, nil
}
