package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/spelling"
	"github.com/maqet/maqet/vm"
)

// hostFacts is what this host and its QEMU make of a configuration.
type hostFacts struct {
	binary  string
	arch    string
	machine string // the versioned name: an alias means another machine in another QEMU
	accel   string
	version string // QEMU's
	build   string // what tells its file from others; see buildOf
	ram     string // what the machine calls its RAM; empty: not known
	sandbox bool
	// virtiofsd is looked for only where a share may need it.
	virtiofsd virtiofsd
	aio       []string // ways to do input and output on files that QEMU has: "threads", ...
	devices   []string // what -device takes, sorted; nil: not known
	vsock     error    // why the host can't serve vsock; nil: it can, or nobody asked
	spice     error    // why this QEMU has no spice; nil: it has, or nobody asked
	swtpm     string   // its path; empty: there is none, or none is needed
}

// microvm reports whether the machine is QEMU's microvm, which has no PCI bus: its
// devices are the -device variants of virtio.
func (h hostFacts) microvm() bool { return h.machine == "microvm" }

// pcie reports whether the machine is one whose root bus is PCI Express, which takes no
// devices while it runs.
func (h hostFacts) pcie() bool {
	return h.machine == "q35" || strings.HasPrefix(h.machine, "pc-q35-") || h.virt()
}

// virt reports whether the machine is QEMU's virt, which aarch64 has in versions and
// riscv64 in one.
func (h hostFacts) virt() bool { return h.machine == "virt" || strings.HasPrefix(h.machine, "virt-") }

var hostArchs = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}

// defaultMachines by architecture.
var defaultMachines = map[string]string{"x86_64": "q35", "aarch64": "virt", "riscv64": "virt"}

// resolve finds the binary and what it makes of cfg's machine and acceleration.
func (b *Backend) resolve(ctx context.Context, cfg vm.Config) (hostFacts, error) {
	h := hostFacts{arch: cfg.Arch}
	if h.arch == "" {
		h.arch = hostArchs[runtime.GOARCH]
	}
	var err error
	if h.binary, err = findBinary(cfg, h.arch); err != nil {
		return h, err
	}
	f, err := b.prober.features(ctx, h.binary)
	if err != nil {
		return h, err
	}
	h.sandbox, h.aio, h.devices = f.Sandbox, f.AIO, f.Devices
	h.version, h.build = f.Version, f.Build
	if cfg.Vsock != nil {
		h.vsock = guestview.CheckVsock()
	}
	if cfg.Display.Type == vm.DisplaySpice {
		if h.spice, err = b.prober.spice(ctx, h.binary); err != nil {
			return h, err
		}
	}
	if f.Arch != h.arch {
		return h, &errors.ConfigError{VM: cfg.Name, Problems: []errors.Problem{{Field: "arch", Value: h.arch,
			Message: h.binary + " emulates " + f.Arch, Fix: "set arch to that, or binary (or MAQET_QEMU) to another QEMU"}}}
	}
	var problems []errors.Problem
	wanted := cfg.Machine
	if wanted == "" {
		wanted = defaultMachines[h.arch]
	}
	if h.machine, err = machineOf(wanted, f); err != nil {
		problems = append(problems, errors.Problem{Field: "machine", Value: wanted, Message: err.Error(),
			Fix: "use one that " + h.binary + " -machine help lists"})
	}
	h.ram = f.RAM[h.machine]
	if slices.ContainsFunc(cfg.Shares, func(s vm.Share) bool { return s.Type != vm.Share9p }) {
		h.virtiofsd = b.virtiofsd.find(ctx)
	}
	if cfg.TPM != nil {
		h.swtpm = findSwtpm()
	}
	why := b.kvmProblem(h.arch, f)
	switch {
	case cfg.Accel == "kvm" && why != nil:
		problems = append(problems, errors.Problem{Field: "accel", Value: "kvm", Message: "can't be used here: " + why.Error(), Fix: `use "auto" or "tcg"`})
	case cfg.Accel == "kvm" || cfg.Accel != "tcg" && why == nil:
		h.accel = "kvm"
	default:
		h.accel = "tcg"
		b.log.DebugContext(ctx, "acceleration chosen", "vm", cfg.Name, "accel", h.accel, "kvm", fmt.Sprint(why))
	}
	if len(problems) > 0 {
		return h, &errors.ConfigError{VM: cfg.Name, Problems: problems}
	}
	return h, nil
}

// findBinary returns the absolute path of the QEMU to run.
func findBinary(cfg vm.Config, arch string) (string, error) {
	name, hint := cfg.Binary, "correct Config.Binary"
	if name == "" {
		name, hint = os.Getenv("MAQET_QEMU"), "correct MAQET_QEMU"
	}
	if name == "" {
		name, hint = "qemu-system-"+arch, "install it (scripts/setup.sh --arch "+arch+"; on Debian "+debianPackage(arch)+"), or set Config.Binary"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		if cfg.Binary != "" {
			hint = "correct Config.Binary, or install QEMU and leave it empty"
		}
		return "", &errors.Error{Kind: errors.ErrQEMUNotFound, Op: "find QEMU", VM: cfg.Name, Err: err, Hint: hint}
	}
	return path, nil
}

func debianPackage(arch string) string {
	switch arch {
	case "x86_64":
		return "qemu-system-x86"
	case "aarch64":
		return "qemu-system-arm"
	default:
		return "qemu-system-misc, from 13 on qemu-system-riscv"
	}
}

// machineOf returns the versioned name of a machine type.
func machineOf(name string, f features) (string, error) {
	if versioned, ok := f.Aliases[name]; ok {
		return versioned, nil
	}
	if slices.Contains(f.Machines, name) {
		return name, nil
	}
	near := nearest(name, f)
	if len(near) > 0 {
		return "", fmt.Errorf("is not known to this QEMU; did you mean %s?", strings.Join(near, ", "))
	}
	return "", errors.New("is not known to this QEMU")
}

// nearest returns the machine names that differ from name in at most two characters,
// or that it abbreviates; aliases first, three at most.
func nearest(name string, f features) []string {
	var near []string
	consider := func(have string) {
		if spelling.Distance(name, have) <= 2 || len(name) > 2 && strings.Contains(have, name) {
			near = append(near, have)
		}
	}
	for alias := range f.Aliases {
		consider(alias)
	}
	slices.Sort(near)
	for _, m := range f.Machines {
		consider(m)
	}
	return near[:min(3, len(near))]
}

// kvmProblem says why KVM can't run a guest of this architecture with this QEMU; nil
// when it can.
func (b *Backend) kvmProblem(arch string, f features) error {
	switch {
	case arch != hostArchs[runtime.GOARCH]:
		return fmt.Errorf("the host is %s, the guest %s", hostArchs[runtime.GOARCH], arch)
	case !f.KVM:
		return errors.New("this QEMU was built without it")
	}
	return b.kvm()
}
