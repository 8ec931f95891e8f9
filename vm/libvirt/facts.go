package libvirt

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/kvm"
	"github.com/maqet/maqet/vm"
)

// Types of domains (libvirt, formatdomain, "Element and attribute overview").
const (
	typeQEMU = "qemu" // QEMU, which emulates (TCG)
	typeKVM  = "kvm"  // QEMU with KVM
	typeTest = "test" // the test driver, which runs nothing
)

// driverTest is libvirt's test driver, which runs nothing.
const driverTest = "test"

// facts is what is known of the host that a domain is made for.
type facts struct {
	domainType string // typeQEMU, typeKVM or typeTest
	arch       string // the guest's, by QEMU's name
	machine    string // the versioned name: an alias means another machine in another QEMU
	emulator   string // the binary's path there; empty: libvirt's own choice
	version    uint64 // libvirt's there, major * 1000000 + minor * 1000 + release; 0: not known
	// sameHost is true where libvirtd is reached by a unix socket: paths mean the same there.
	sameHost bool
	// inPlace is true where guests run as this user, and use its files as they are.
	inPlace bool
	caps    abilities
	// blobs are the paths, on that host, of files with what blobsOf lists.
	blobs map[string]string
}

// abilities are what libvirt says of a kind of guest (formatdomaincaps). A nil list is not
// known, and forbids nothing.
type abilities struct {
	cpuModels []string // for mode "custom"
	graphics  []string // kinds of displays
	virtiofs  bool
	tpm       bool // there is a swtpm
	maxCPUs   uint
}

// isTest reports whether the driver is libvirt's test driver, which runs nothing.
func (f facts) isTest() bool { return f.domainType == typeTest }

// q35 reports whether the machine is one of QEMU's q35, which has SATA built in.
func (f facts) q35() bool { return f.machine == "q35" || strings.HasPrefix(f.machine, "pc-q35-") }

// i440fx reports whether the machine is one of QEMU's pc, which has IDE built in.
func (f facts) i440fx() bool { return f.machine == "pc" || strings.HasPrefix(f.machine, "pc-i440fx-") }

// virt reports whether the machine is QEMU's virt.
func (f facts) virt() bool { return f.machine == "virt" || strings.HasPrefix(f.machine, "virt-") }

// pcie reports whether the root bus is PCI Express, which takes no devices while it runs.
func (f facts) pcie() bool { return f.q35() || f.virt() }

// accel is what Runtime.Accel calls it.
func (f facts) accel() string {
	if f.domainType == typeKVM {
		return "kvm"
	}
	return "tcg"
}

// defaultMachines by architecture, as Config.Machine says.
var defaultMachines = map[string]string{"x86_64": "q35", "aarch64": "virt", "riscv64": "virt"}

var hostArchs = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}

// factsKey is what the facts of a host depend on.
type factsKey struct{ arch, machine, accel, binary string }

// factsTime is how long a host is believed: another QEMU may have been installed since.
const factsTime = 5 * time.Minute

func keyOf(cfg vm.Config) factsKey {
	return factsKey{arch: cfg.Arch, machine: cfg.Machine, accel: cmp.Or(cfg.Accel, "auto"), binary: cfg.Binary}
}

// factsCache keeps what a host has said of itself. Its zero value is ready, and it is safe for
// concurrent use.
type factsCache struct {
	mu    sync.Mutex
	known map[factsKey]dated
}

type dated struct {
	facts
	at time.Time
}

func (c *factsCache) get(k factsKey) (facts, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.known[k]
	return d.facts, ok && time.Since(d.at) < factsTime
}

func (c *factsCache) put(k factsKey, f facts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[factsKey]dated{}
	}
	c.known[k] = dated{f, time.Now()}
}

// facts returns what is known of the host for cfg. libvirt is asked once for each kind of
// guest. What the host does not have is an *errors.ConfigError.
func (h *host) facts(ctx context.Context, cfg vm.Config) (facts, error) {
	f := facts{sameHost: h.local(), inPlace: h.inPlace()}
	if h.endpoint.driver == driverTest {
		f.domainType, f.arch, f.machine = typeTest, "i686", cfg.Machine
		return f, nil
	}
	key := keyOf(cfg)
	if known, ok := h.known.get(key); ok {
		return known, nil
	}
	f, err := h.ask(ctx, cfg, f)
	if err == nil {
		h.known.put(key, f)
	}
	return f, err
}

// ask fills in what libvirt says. KVM is tried first where it is wanted.
func (h *host) ask(ctx context.Context, cfg vm.Config, f facts) (facts, error) {
	emulator, err := h.emulator(cfg)
	if err != nil {
		return f, err
	}
	var why error // why not KVM
	if cfg.Accel != "tcg" {
		if why = h.kvmProblem(); why == nil {
			caps, err := h.capabilities(ctx, cfg, emulator, typeKVM)
			if err == nil {
				return f.with(caps), nil
			}
			if why = err; !refusedByLibvirt(err) {
				return f, err
			}
		}
	}
	if cfg.Accel == "kvm" {
		return f, &errors.ConfigError{VM: cfg.Name, Problems: []errors.Problem{{Field: "accel", Value: "kvm",
			Message: "can't be used at " + h.endpoint.String() + ": " + why.Error(), Fix: `use "auto" or "tcg"`}}}
	}
	caps, err := h.capabilities(ctx, cfg, emulator, typeQEMU)
	if refusedByLibvirt(err) {
		return f, notThere(cfg, h.endpoint.String(), err)
	}
	if err != nil {
		return f, err
	}
	return f.with(caps), nil
}

// notThere says which field asks for what libvirt has not.
func notThere(cfg vm.Config, uri string, err error) error {
	p := errors.Problem{Field: "machine", Value: cfg.Machine, Message: "can't be had at " + uri + ": " + err.Error(),
		Fix: "use what `virsh -c URI domcapabilities` and `qemu-system-... -machine help` show there"}
	if cfg.Machine == "" {
		p.Field, p.Value = "arch", cfg.Arch
	}
	if cfg.Binary != "" {
		p.Field, p.Value = "binary", cfg.Binary
	}
	return &errors.ConfigError{VM: cfg.Name, Problems: []errors.Problem{p}, Kind: errors.ErrInvalidConfiguration}
}

// refusedByLibvirt tells that libvirt has none of what was asked for from an answer that did
// not come.
func refusedByLibvirt(err error) bool {
	return isAnswer(err) && !errors.Is(err, errors.ErrHostUnreachable)
}

// kvmProblem says why KVM is no good on this host, though libvirt offers it where it can open
// /dev/kvm. Of other hosts libvirt's word counts.
func (h *host) kvmProblem() error {
	if !h.local() {
		return nil
	}
	return kvm.Check()
}

// emulator returns the path of Config.Binary on the host; empty: libvirt's choice.
func (h *host) emulator(cfg vm.Config) (string, error) {
	if cfg.Binary == "" || strings.HasPrefix(cfg.Binary, "/") {
		return cfg.Binary, nil
	}
	return "", &errors.ConfigError{VM: cfg.Name, Problems: []errors.Problem{{Field: "binary", Value: cfg.Binary,
		Message: "is no absolute path, and libvirt has no PATH", Fix: "give the path on the host, or leave it out"}}}
}

// known is what libvirt says of a kind of guest.
type known struct {
	libvirtxml.DomainCaps
	version uint64
}

// capabilities asks libvirt for what it says of a kind of guest.
func (h *host) capabilities(ctx context.Context, cfg vm.Config, emulator, domainType string) (known, error) {
	optional := func(s string) libvirt.OptString {
		if s == "" {
			return nil
		}
		return libvirt.OptString{s}
	}
	var k known
	err := h.call(ctx, "ask for capabilities", cfg.Name, func(l *libvirt.Libvirt) error {
		arch, machine := cfg.Arch, cfg.Machine
		if arch == "" && h.local() {
			arch = hostArchs[runtime.GOARCH]
		}
		text, err := l.ConnectGetDomainCapabilities(optional(emulator), optional(arch), optional(cmp.Or(machine, defaultMachines[arch])),
			optional(domainType), 0)
		if err != nil {
			return err
		}
		if err := unmarshal(text, &k.DomainCaps); err != nil {
			return err
		}
		if machine == "" && arch == "" && k.Machine != "" { // libvirt's own default is not ours
			text, err = l.ConnectGetDomainCapabilities(optional(emulator), optional(k.Arch), optional(defaultMachines[k.Arch]), optional(domainType), 0)
			if err == nil {
				err = unmarshal(text, &k.DomainCaps)
			}
			if err != nil {
				return err
			}
		}
		k.version, err = l.ConnectGetLibVersion()
		return err
	})
	if err != nil {
		return known{}, err // k may still be written to
	}
	return k, nil
}

// with returns f with what libvirt says.
func (f facts) with(k known) facts {
	f.domainType, f.arch, f.machine, f.emulator, f.version = k.Domain, k.Arch, k.Machine, k.Path, k.version
	if k.VCPU != nil {
		f.caps.maxCPUs = k.VCPU.Max
	}
	if k.CPU != nil {
		for _, mode := range k.CPU.Modes {
			for _, m := range mode.Models {
				if mode.Name == "custom" {
					f.caps.cpuModels = append(f.caps.cpuModels, m.Name)
				}
			}
		}
	}
	if d := k.Devices; d != nil {
		f.caps.graphics = offered(d.Graphics, "type")
		f.caps.virtiofs = slices.Contains(offered(d.FileSystem, "driverType"), "virtiofs")
		f.caps.tpm = slices.Contains(offered(d.TPM, "backendModel"), "emulator")
	}
	return f
}

// offered returns the values that a device can have in one respect.
func offered(d *libvirtxml.DomainCapsDevice, name string) []string {
	if d == nil || d.Supported != "yes" {
		return []string{}
	}
	for _, e := range d.Enums {
		if e.Name == name {
			return e.Values
		}
	}
	return []string{}
}

// inPlace reports whether guests run as this user, and use this host's files as they are.
func (h *host) inPlace() bool {
	return h.local() && (h.endpoint.path == "/session" || h.endpoint.driver == driverTest)
}
