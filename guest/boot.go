//go:build linux

package guest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/initramfs"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/tsc"
	"github.com/maqet/maqet/vm"
)

// BooterOptions configure a [Booter]. The zero value works.
type BooterOptions struct {
	// CacheDir keeps extracted kernels, initial RAM disks and the compiled init. Empty:
	// kernel.DefaultCacheDir. Sharing one folder between tests saves seconds in each.
	CacheDir string
	// Logger gets what was chosen, at level debug. Empty: nothing is logged.
	Logger *slog.Logger
}

// Booter decides what a guest boots from; it implements vm.Booter. Its method is safe
// for concurrent use.
//
// Its choices for the default guest are there for emulated ones (TCG), where the boot
// takes longest: the uncompressed kernel, which QEMU starts by its PVH entry; the firmware
// qboot; a command line without self-tests and rewriting of code. BenchmarkBootChoices in
// the module benchmarks measures each, and docs/benchmarks.md has the figures. Until the
// kernel's first line (medians of 12 alternating runs on q35 with Debian's cloud kernel):
//
//	bzImage, SeaBIOS       767 ms  what `qemu-system-x86_64 -kernel vmlinuz` does
//	bzImage, qboot         609 ms
//	uncompressed, SeaBIOS  207 ms
//	uncompressed, qboot    146 ms  the default
//
// What made no difference that could be told from noise, and is not done: compressing the
// initial RAM disk, leaving busybox or its links out of it, nolapic_timer (which also
// leaves a microvm without timers), and q35 without SATA, USB, SMBus and HPET.
type Booter struct {
	cacheDir string
	log      *slog.Logger
	tscKHz   func() (int, bool)

	descriptors []string // folders of firmware descriptors; nil: QEMU's

	mu    sync.Mutex
	inits map[string]string // built init programs by architecture
}

var _ vm.Booter = (*Booter)(nil)

// NewBooter returns a Booter.
func NewBooter(o BooterOptions) *Booter {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Booter{inits: map[string]string{}, cacheDir: o.CacheDir, log: o.Logger, tscKHz: sync.OnceValues(tsc.KHz)}
}

// ResolveBoot returns what cfg boots from; vm.Boot has the rules. The first call for a
// kernel extracts it, compiles init and builds the initial RAM disk, which takes
// seconds and happens once per cache folder; later calls take about 1 ms.
//
// A missing kernel, init that can't be compiled, a file that does not exist:
// errors.ErrInvalidConfiguration, with the command that helps.
func (b *Booter) ResolveBoot(ctx context.Context, cfg vm.Config) (vm.BootFiles, error) {
	out := vm.BootFiles{Firmware: namedFirmware(cfg.Boot.Firmware)}
	image := slices.ContainsFunc(cfg.Disks, vm.Disk.HasImage)
	if wantsUEFI(cfg, image) {
		if err := b.setUEFI(ctx, cfg, &out); err != nil {
			return vm.BootFiles{}, err
		}
	}
	if cfg.FromDisk() {
		return out, nil
	}
	cache, err := b.cache()
	if err != nil {
		return vm.BootFiles{}, err
	}
	k, err := kernel.Find(ctx, kernel.Options{
		Path: cfg.Boot.Kernel, Arch: cfg.Arch, Modules: cfg.Boot.Modules, CacheDir: cache,
	})
	if err != nil {
		return vm.BootFiles{}, err
	}
	if out.Kernel, err = startFile(ctx, k, cfg); err != nil {
		return vm.BootFiles{}, err
	}
	switch {
	case cfg.DefaultInitrd():
		out.Default = true
		out.Initrd, err = b.initrd(ctx, cache, k, cfg)
		if out.Firmware == "" && out.UEFI == nil && suitsQboot(cfg, k) {
			out.Firmware = findQboot()
		}
	case cfg.Boot.Initrd != "" && cfg.Boot.Initrd != "none":
		out.Initrd, err = existing("boot.initrd", cfg.Boot.Initrd)
	}
	if err != nil {
		return vm.BootFiles{}, err
	}
	out.Cmdline = mergeCmdline(b.cmdline(cfg, out.Default), splitCmdline(cfg.Boot.Cmdline))
	b.log.DebugContext(ctx, "boot files", "vm", cfg.Name, "kernel", out.Kernel, "version", k.Version,
		"initrd", out.Initrd, "cmdline", out.Cmdline, "firmware", out.Firmware)
	return out, nil
}

func (b *Booter) cache() (string, error) {
	if b.cacheDir != "" {
		return b.cacheDir, nil
	}
	return kernel.DefaultCacheDir()
}

// startFile returns the file that QEMU loads: the uncompressed kernel where it can. A
// kernel that QEMU starts by its PVH entry is not told of a VGA adapter's text mode and
// leaves the screen black; only the code at the start of a bzImage asks the firmware for
// it (Linux, arch/x86/boot/video.c). That costs half a second, so only guests with such
// an adapter pay it.
func startFile(ctx context.Context, k kernel.Kernel, cfg vm.Config) (string, error) {
	if k.Arch == "x86_64" && (hasVGA(cfg) || wantsUEFI(cfg, false)) { // a UEFI starts programs of its own format
		return k.Path, nil
	}
	path, err := k.Vmlinux(ctx)
	if errors.Is(err, kernel.ErrNoPVH) {
		return k.Path, nil
	}
	return path, err
}

// init returns the program for an architecture. What it is made of is part of this
// program, so it is looked for once.
func (b *Booter) init(ctx context.Context, cache, arch string) (string, error) {
	prebuilt := os.Getenv(initramfs.EnvInit) != ""
	b.mu.Lock()
	path := b.inits[arch]
	b.mu.Unlock()
	if _, err := os.Stat(path); err == nil && !prebuilt {
		return path, nil
	}
	path, err := initramfs.BuildInit(ctx, initSource, initramfs.InitOptions{Arch: arch, CacheDir: cache})
	if err != nil || prebuilt {
		return path, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inits[arch] = path
	return path, nil
}

// initrd builds the default guest's initial RAM disk.
func (b *Booter) initrd(ctx context.Context, cache string, k kernel.Kernel, cfg vm.Config) (string, error) {
	init, err := b.init(ctx, cache, k.Arch)
	if err != nil {
		return "", err
	}
	busybox := ""
	if k.Arch != kernel.HostArch() {
		busybox = foreignBusybox(cache, k.Arch)
	}
	return initramfs.Builder{
		Init: init, Modules: k.Modules, Version: k.Version, Busybox: busybox,
		Extra: modulesFor(cfg), Files: cfg.Boot.Files, CacheDir: cache,
	}.Build(ctx)
}

// modulesFor are modules that only some guests need: every QEMU has an fw_cfg device, and
// its driver would load in each guest.
func modulesFor(cfg vm.Config) []string {
	if len(cfg.FwCfg) > 0 || cfg.Ignition != "" {
		return []string{"qemu_fw_cfg"}
	}
	return nil
}

// foreignBusybox returns the busybox that scripts/setup.sh got for another architecture:
// the host's can't run there. Without one the guest has init's own commands only.
func foreignBusybox(cache, arch string) string {
	dirs := []string{cache}
	if def, err := kernel.DefaultCacheDir(); err == nil {
		dirs = append(dirs, def)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "tools", "busybox", arch, "busybox")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return "none"
}

// namedFirmware returns what QEMU's option -bios takes; empty: the machine's own.
func namedFirmware(name string) string {
	switch name {
	case vm.FirmwareUEFI:
		return "" // see setUEFI
	case "bios":
		return "bios-256k.bin"
	case "qboot":
		if path := findQboot(); path != "" {
			return path
		}
		return "qboot.rom" // QEMU says where it looked
	default:
		return name
	}
}

// suitsQboot reports whether the guest can do without SeaBIOS: qboot does not run the
// ROMs of devices, without which a VGA card has no text mode and shows nothing, so it is for guests that
// have only the devices that maqet chooses, and no screen. Nor does it tell QEMU where the
// guest's copy of the generation ID is. A microvm has it anyway.
func suitsQboot(cfg vm.Config, k kernel.Kernel) bool {
	return k.Arch == "x86_64" && len(cfg.Devices) == 0 && len(cfg.Args) == 0 && cfg.GenerationID == "" &&
		cfg.Display.AdapterOn(k.Arch, cfg.Machine) == vm.AdapterNone && !strings.HasPrefix(cfg.Machine, "microvm")
}

// hasVGA reports whether the guest, an x86 one, has an adapter with a text mode: one of
// QEMU's that are VGA-compatible (QEMU's hw/display, docs/system/devices: "VGA"), secondary
// ones and plain GPUs not among them. For ramfb SeaBIOS pretends to have one.
func hasVGA(cfg vm.Config) bool {
	adapter := cfg.Display.AdapterOn("x86_64", cfg.Machine)
	if adapter != vm.AdapterNone && !strings.HasPrefix(cfg.Machine, "microvm") {
		return true
	}
	return slices.ContainsFunc(cfg.Devices, func(d vm.Device) bool {
		switch d.Driver {
		case "VGA", "isa-vga", "cirrus-vga", "isa-cirrus-vga", "vmware-svga", "qxl-vga", "ati-vga",
			"virtio-vga", "virtio-vga-gl", "virtio-vga-rutabaga", "vhost-user-vga":
			return true
		}
		return false
	})
}

// findQboot returns the path of qboot's image, empty when this QEMU came without.
func findQboot() string {
	for _, dir := range []string{"/usr/share/qemu", "/usr/local/share/qemu"} {
		path := filepath.Join(dir, "qboot.rom")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

func existing(field, path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(abs)
	}
	if err != nil {
		return "", &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, Problems: []errors.Problem{{
			Field: field, Value: path, Message: err.Error(), Fix: "give the path of an existing file",
		}}}
	}
	return abs, nil
}

// cmdline returns the generated arguments of the kernel. panic= is not among them: a
// guest that panicked stands still, so that it can be looked at.
func (b *Booter) cmdline(cfg vm.Config, defaultGuest bool) []string {
	var args []string
	if defaultGuest {
		// Fewer characters on the emulated serial port; a panic is printed all the same.
		// The first network card is eth0 whatever slot it is in.
		args = append(args, "quiet", "net.ifnames=0")
		if cfg.Accel != "kvm" {
			// Debian's kernels clear all memory that they hand out, that for each piece
			// that leaves through a port included, which slows copies by a third or more.
			args = append(args, "init_on_alloc=0")
		}
	}
	// Self-tests of ciphers are the largest single part of an emulated boot.
	args = append(args, "cryptomgr.notests", "random.trust_cpu=on")
	if cfg.Accel != "kvm" && (cfg.Arch == "x86_64" || cfg.Arch == "" && kernel.HostArch() == "x86_64") {
		// A kernel for many processors that finds itself on one rewrites each locked
		// instruction, and TCG must translate the code around it anew: 0.3 s.
		args = append(args, "noreplace-smp")
	}
	if cfg.Arch == "" || cfg.Arch == kernel.HostArch() {
		if khz, ok := b.tscKHz(); ok && cfg.Accel != "kvm" {
			// Without it the guest measures its counter, which fails on a busy host; on
			// a microvm, which has no other clock, it then hangs.
			args = append(args, "tsc_early_khz="+strconv.Itoa(khz))
		}
	}
	return args
}

// mergeCmdline appends user's arguments to the generated ones, of which those with a
// key that the user gives are left out.
func mergeCmdline(generated, user []string) []string {
	given := map[string]bool{}
	for _, arg := range user {
		given[cmdlineKey(arg)] = true
	}
	var out []string
	for _, arg := range generated {
		if !given[cmdlineKey(arg)] {
			out = append(out, arg)
		}
	}
	return append(out, user...)
}

// cmdlineKey returns what is before "=". The kernel takes '-' and '_' for the same.
func cmdlineKey(arg string) string {
	key, _, _ := strings.Cut(strings.Trim(arg, `"`), "=")
	return strings.ReplaceAll(key, "-", "_")
}

// splitCmdline splits at spaces outside double quotes, which stay where they are, as
// the kernel does (Linux, lib/cmdline.c, next_arg).
func splitCmdline(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && strings.ContainsRune(" \t\n\v\f\r", r)
	})
}
