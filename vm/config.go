package vm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config says what a VM is. The zero Config is a working VM: the default guest
// (a small Linux with maqet's own init) on the kernel that is found, one CPU,
// 256 MiB, deleted with the process that started it.
//
// The YAML and JSON keys are the snake_case names in the tags.
type Config struct {
	// Name is the VM's name, unique in a store: a letter or digit, then at most 62
	// letters, digits, '.', '_' and '-'; it can't look like an ID (a UUID). Empty:
	// "vm-" and the first eight digits of the ID.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Arch is the guest's architecture by QEMU's name: "x86_64", "aarch64" or "riscv64".
	// Empty: the host's. Others than the host's are emulated (TCG), and need their QEMU and
	// kernel; scripts/setup.sh --arch gets both.
	Arch string `json:"arch,omitempty" yaml:"arch,omitempty"`
	// Machine is QEMU's machine type. Empty: the architecture's default ("q35" for
	// x86_64, "virt" for the others). An alias is resolved to the versioned name when the VM starts.
	Machine string `json:"machine,omitempty" yaml:"machine,omitempty"`
	// Accel is "auto" (the default), "kvm" or "tcg". With auto, KVM is used where it
	// can really run a guest; else TCG, and every default time-out is scaled up.
	Accel string `json:"accel,omitempty" yaml:"accel,omitempty"`
	// Backend is "process" (the default), the name of another backend that was configured,
	// such as "libvirt", or one that leaves the choice to a [Placer], such as "any": then
	// Instance.Host has what it chose.
	Backend string `json:"backend,omitempty" yaml:"backend,omitempty"`
	// Binary is the QEMU binary, a path or a name to find on PATH. Empty: MAQET_QEMU
	// if that is set, else qemu-system-ARCH from PATH.
	Binary string `json:"binary,omitempty" yaml:"binary,omitempty"`

	CPU    CPU  `json:"cpu,omitzero" yaml:"cpu,omitempty"`
	Memory Size `json:"memory,omitempty" yaml:"memory,omitempty"` // Empty: 256 MiB. At least 1 MiB, whole MiB.
	// MaxMemory is what the memory can grow to by plugging modules (qmp.Memory), at most
	// eight of them; whole MiB. Empty: no more than Memory, none can be plugged. Room for
	// modules makes an emulated boot about a tenth longer.
	MaxMemory Size `json:"max_memory,omitempty" yaml:"max_memory,omitempty"`
	// HotplugPorts is how many PCI devices can be plugged into a running VM whose machine
	// has PCI Express (q35, virt), at most 32; each takes a port. 0: four,
	// which make a boot less than two hundredths longer. -1: none. A machine "pc" needs
	// none, and a microvm takes no PCI devices. The ports are "hotplug0", "hotplug1", ...;
	// one of Devices with such a "bus" can be removed while the VM runs.
	HotplugPorts int  `json:"hotplug_ports,omitempty" yaml:"hotplug_ports,omitempty"`
	Boot         Boot `json:"boot,omitzero" yaml:"boot,omitempty"`

	Disks    []Disk    `json:"disks,omitempty" yaml:"disks,omitempty"`
	Networks []Network `json:"networks,omitempty" yaml:"networks,omitempty"` // none: the guest has no network card
	Shares   []Share   `json:"shares,omitempty" yaml:"shares,omitempty"`
	Devices  []Device  `json:"devices,omitempty" yaml:"devices,omitempty"` // any other device of QEMU

	Console Console  `json:"console,omitzero" yaml:"console,omitempty"`
	Agent   Agent    `json:"agent,omitzero" yaml:"agent,omitempty"`
	Serials []Serial `json:"serials,omitempty" yaml:"serials,omitempty"` // serial ports besides the console
	Display Display  `json:"display,omitzero" yaml:"display,omitempty"`

	// The guest has each of these devices when it is given; an empty one has its defaults.
	RNG      *RNG      `json:"rng,omitempty" yaml:"rng,omitempty"`
	Balloon  *Balloon  `json:"balloon,omitempty" yaml:"balloon,omitempty"`
	Watchdog *Watchdog `json:"watchdog,omitempty" yaml:"watchdog,omitempty"`
	TPM      *TPM      `json:"tpm,omitempty" yaml:"tpm,omitempty"`
	Vsock    *Vsock    `json:"vsock,omitempty" yaml:"vsock,omitempty"`
	// PVPanic adds QEMU's panic device, by which a kernel tells that it panicked without
	// printing it: the VM is Failed, ReasonGuestPanic. A panic on the console is seen without.
	PVPanic bool `json:"pvpanic,omitempty" yaml:"pvpanic,omitempty"`
	// Tablet adds a USB tablet: a pointer with absolute positions, for qmp.Mouse and VNC.
	// Debian's cloud kernel has no USB; see [Device].
	Tablet bool `json:"tablet,omitempty" yaml:"tablet,omitempty"`
	// GenerationID gives the guest a VM generation ID: a UUID, or "auto" for a new one at
	// each start. A kernel that knows it reseeds its random generator when it changes.
	// Machines q35 and pc of x86_64 only.
	GenerationID string `json:"generation_id,omitempty" yaml:"generation_id,omitempty"`

	// CloudInit is what cloud-init in the guest does at its first boot.
	CloudInit *CloudInit `json:"cloud_init,omitempty" yaml:"cloud_init,omitempty"`
	// Ignition is the path of an Ignition configuration, handed to the guest as the fw_cfg
	// blob "opt/com.coreos/config", where Ignition looks for it on all three architectures.
	Ignition string  `json:"ignition,omitempty" yaml:"ignition,omitempty"`
	FwCfg    []FwCfg `json:"fw_cfg,omitempty" yaml:"fw_cfg,omitempty"`
	SMBIOS   SMBIOS  `json:"smbios,omitzero" yaml:"smbios,omitempty"`

	// Lifetime is [Ephemeral] (the default) or [Persistent].
	Lifetime Lifetime `json:"lifetime,omitempty" yaml:"lifetime,omitempty"`
	// Template lays the guest's memory out in a shared file, so that a template can
	// be captured from it without a copy.
	Template bool `json:"template,omitempty" yaml:"template,omitempty"`
	// Args are raw QEMU arguments, added at the end: {"-device", "virtio-rng-pci"}.
	// One that collides with what maqet generates is refused.
	Args []string `json:"args,omitempty" yaml:"args,omitempty"`

	Timeouts Timeouts `json:"timeouts,omitzero" yaml:"timeouts,omitempty"`
	// Labels are the user's own; [Filter] finds VMs by them.
	Labels map[string]string `json:"labels,omitempty" yaml:"labels,omitempty"`
}

// CPU is the virtual processor. QEMU manual, "CPU models" and -smp.
type CPU struct {
	Count int `json:"count,omitempty" yaml:"count,omitempty"` // Empty: the product of the topology, 1 if there is none.
	// Model is QEMU's name. Empty: "host" under KVM. Under TCG "max" without what TCG is slow
	// at (x86_64: fast string instructions, aarch64: pointer authentication), for riscv64
	// "rv64".
	Model   string `json:"model,omitempty" yaml:"model,omitempty"`
	Sockets int    `json:"sockets,omitempty" yaml:"sockets,omitempty"`
	Cores   int    `json:"cores,omitempty" yaml:"cores,omitempty"`
	Threads int    `json:"threads,omitempty" yaml:"threads,omitempty"`
	// Max is how many there can be after plugging more (qmp.CPU), a multiple of Cores x
	// Threads; Sockets grows with it. Empty: no more than Count. Machine virt takes none.
	Max int `json:"max,omitempty" yaml:"max,omitempty"`
}

// FromDisk reports whether the firmware boots the guest from one of its disks.
func (c Config) FromDisk() bool {
	return c.Boot.Kernel == "" && c.Boot.Initrd == "" && slices.ContainsFunc(c.Disks, Disk.HasImage)
}

// DefaultInitrd reports whether the guest starts with the default guest's initial RAM disk.
// [Boot].Initrd has the rules.
func (c Config) DefaultInitrd() bool {
	switch c.Boot.Initrd {
	case "auto":
		return true
	case "":
		return !slices.ContainsFunc(c.Disks, Disk.HasImage) || c.Boot.Kernel == "auto" && !c.Boot.hasRoot()
	}
	return false
}

// hasRoot reports whether the command line says where the root folder is.
func (b Boot) hasRoot() bool {
	return slices.ContainsFunc(strings.Fields(b.Cmdline), func(a string) bool { return strings.HasPrefix(a, "root=") })
}

// Boot says how the guest starts.
//
// With everything empty, and no disk that holds an image (Path or Base), the
// default guest boots. With such a disk, the firmware boots from it.
type Boot struct {
	// Kernel is the path of a kernel: a bzImage or an uncompressed vmlinux for x86_64, an
	// Image, plain or compressed, for the others; "auto" finds one as described at package
	// guest/kernel.
	Kernel string `json:"kernel,omitempty" yaml:"kernel,omitempty"`
	// Initrd is the path of an initial RAM disk; "auto": the default guest's; "none": none.
	// Empty: "auto", or "none" where a disk holds an image. There, too, it is "auto" with a
	// Kernel "auto" and no "root=" in Cmdline, which would find no root.
	Initrd string `json:"initrd,omitempty" yaml:"initrd,omitempty"`
	// Cmdline is appended to the kernel command line that maqet generates; an
	// argument given here replaces a generated one of the same key.
	Cmdline string `json:"cmdline,omitempty" yaml:"cmdline,omitempty"`
	// Firmware is "bios" (SeaBIOS), "qboot", "uefi" (found by QEMU's firmware descriptors,
	// see its docs/interop/firmware.json) or the path of a firmware image. Empty: what boots this kernel fastest; for a disk
	// what the machine has by itself, SeaBIOS on x86 and UEFI elsewhere.
	Firmware string `json:"firmware,omitempty" yaml:"firmware,omitempty"`
	// SecureBoot makes Firmware "uefi" one that starts only what is signed, with the keys
	// of its vendor enrolled. It is for what comes from disks: edk2 of 2022 also starts a
	// Kernel, which the host hands it, that it can't verify.
	SecureBoot bool `json:"secure_boot,omitempty" yaml:"secure_boot,omitempty"`
	// NVRAM is the path of the variables that a UEFI starts out with; each VM has a copy of
	// its own, which is kept as Disk.Keep says by default, and deleted with the VM. It must
	// have the size of the firmware's own template, which Empty means. Another template
	// makes another copy; the former one is there again with the former template.
	NVRAM string `json:"nvram,omitempty" yaml:"nvram,omitempty"`
	// Modules is a folder that holds lib/modules/VERSION for Kernel. Empty: beside the
	// kernel, then the root folder. Only the default guest's initrd needs it.
	Modules string `json:"modules,omitempty" yaml:"modules,omitempty"`
	// Files are added to the default guest's initrd: path in the guest -> path on the
	// host. Programs keep their mode.
	Files map[string]string `json:"files,omitempty" yaml:"files,omitempty"`
}

// Console is the guest's first serial port.
type Console struct {
	Disabled bool `json:"disabled,omitempty" yaml:"disabled,omitempty"`
}

// Agent is the channel of the QEMU guest agent.
type Agent struct {
	Disabled bool `json:"disabled,omitempty" yaml:"disabled,omitempty"`
}

// Timeouts bound the parts of a VM's life, each beside the caller's context: the
// shorter one wins. The zero value of each is the default that its comment states for
// KVM; under TCG the default is four times that. A value that is set is not scaled.
type Timeouts struct {
	Launch  Duration `json:"launch,omitempty" yaml:"launch,omitempty"`   // QEMU until it answers on QMP: 15 s.
	Ready   Duration `json:"ready,omitempty" yaml:"ready,omitempty"`     // boot until every condition holds: 60 s.
	Silence Duration `json:"silence,omitempty" yaml:"silence,omitempty"` // no sign of life while waiting to be ready: 20 s.
	Stop    Duration `json:"stop,omitempty" yaml:"stop,omitempty"`       // the guest's share of a Stop: 10 s.
}

// Duration is a time.Duration whose text form is Go's: "1m30s".
type Duration time.Duration

// String returns Go's form.
func (d Duration) String() string { return time.Duration(d).String() }

func (d Duration) std() time.Duration { return time.Duration(d) }

// MarshalText returns Go's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads Go's form.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a time: write a number and a unit, such as 30s or 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

// Lifetime says what happens to a guest when the process that started it ends.
type Lifetime string

const (
	// Ephemeral guests die with the process that started them, however it dies. It
	// is the default; the empty Lifetime means it.
	Ephemeral Lifetime = "ephemeral"
	// Persistent guests go on; the next process that asks for one adopts it.
	Persistent Lifetime = "persistent"
)
