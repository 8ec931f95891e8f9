package process

import (
	"cmp"
	"context"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/maqet/maqet/vm"
)

// Capabilities are what a command line depends on besides the configuration: what this
// host and its QEMU can do, and what is only known of a VM once it is added. The zero value
// is a host with its own architecture, without KVM.
type Capabilities struct {
	Binary  string // of QEMU. Empty: Config.Binary, else qemu-system-ARCH.
	Arch    string // what Binary emulates, by QEMU's name. Empty: Config.Arch, else the host's.
	Machine string // the versioned machine type. Empty: Config.Machine, else the default.
	Accel   string // "kvm" or "tcg". Empty: Config.Accel, tcg for auto.
	Sandbox bool   // QEMU has -sandbox
	RAM     string // what Machine calls its RAM (QMP query-machines, default-ram-id). Empty: "mem". Only a Template's shows.

	// ID is the VM's. Empty: a UUID of zeros; the VM's own is in -uuid, in MAC addresses and
	// in paths.
	ID string
	// RuntimeDir, LogDir and ImageDir are the folders in which the VM has one by its ID.
	// Empty: "runtime", "logs" and "images".
	RuntimeDir, LogDir, ImageDir string
	// Boot is what the guest boots from. Nil: what Config says; in place of what is looked for at
	// the start there is "kernel", "initrd", "uefi-code" and "uefi-vars", and of the kernel
	// command line only Config.Boot.Cmdline.
	Boot *vm.BootFiles
}

// zeroID stands for an ID that is not known.
const zeroID = "00000000-0000-0000-0000-000000000000"

// CommandLine returns the QEMU command line that a start of cfg would run, the binary first.
// It needs no QEMU, and starts and makes nothing. Descriptors that QEMU inherits have the
// numbers they would have. What is wrong with cfg is an *errors.ConfigError. [Quote] makes a text
// of it that a shell reads.
func CommandLine(cfg vm.Config, caps Capabilities) ([]string, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	// What is known to be missing is a problem; here nothing is.
	host := hostFacts{arch: cmp.Or(caps.Arch, cfg.Arch, hostArchs[runtime.GOARCH]), sandbox: caps.Sandbox, ram: caps.RAM,
		aio: []string{vm.AIOURing}, swtpm: "swtpm", virtiofsd: virtiofsd{path: "virtiofsd", readOnly: true}}
	host.binary = cmp.Or(caps.Binary, cfg.Binary, "qemu-system-"+host.arch)
	host.machine = cmp.Or(caps.Machine, cfg.Machine, defaultMachines[host.arch])
	host.accel = cmp.Or(caps.Accel, strings.TrimPrefix(cfg.Accel, "auto"), "tcg")
	id := cmp.Or(caps.ID, zeroID)
	folders := &Backend{opts: Options{RuntimeDir: cmp.Or(caps.RuntimeDir, "runtime"), LogDir: cmp.Or(caps.LogDir, "logs")}}
	return commandLine(cfg, id, cmp.Or(caps.ImageDir, "images"), caps.Boot, host, folders.files(id))
}

// CommandLine returns the command line that a start of cfg would run here, with what this
// host's QEMU answers, which is asked if it was not before. The VM's ID and what is booted
// are as in [Capabilities] without them; images are where maqet.New keeps them.
func (b *Backend) CommandLine(ctx context.Context, cfg vm.Config) ([]string, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, err := b.resolve(ctx, cfg)
	if err != nil {
		return nil, err
	}
	images := filepath.Join(filepath.Dir(b.opts.LogDir), "images")
	return commandLine(cfg, zeroID, images, nil, host, b.files(zeroID))
}

func commandLine(cfg vm.Config, id, images string, boot *vm.BootFiles, host hostFacts, f files) ([]string, error) {
	cfg.Name = cmp.Or(cfg.Name, "vm-"+id[:min(8, len(id))]) // as vm.Config.Name says
	spec := rehearsal(id, cfg)
	spec.Images, spec.Seed = cfg.PlannedImages(images, id), cfg.PlannedSeed(images, id)
	if boot != nil {
		spec.Boot = *boot
	} else {
		spec.Boot = foreseen(cfg, spec.Boot)
	}
	if spec.Boot.UEFI != nil && spec.Boot.UEFI.NVRAM != "" {
		spec.NVRAM = "uefi-vars"
	}
	plan, err := build(spec, host, f)
	if err != nil {
		return nil, err
	}
	return plan.commandLine(), nil
}

// foreseen fills in what a configuration says of what is booted.
func foreseen(cfg vm.Config, b vm.BootFiles) vm.BootFiles {
	said := cfg.Boot
	if said.Kernel != "" && said.Kernel != "auto" {
		b.Kernel = said.Kernel
	}
	if !cfg.DefaultInitrd() {
		b.Initrd, b.Default = strings.TrimPrefix(said.Initrd, "none"), false
	}
	if said.Firmware == "uefi" {
		b.UEFI = &vm.UEFI{Code: "uefi-code", CodeFormat: vm.FormatRaw, NVRAM: "uefi-vars", NVRAMFormat: vm.FormatRaw, SMM: said.SecureBoot}
	}
	if b.Kernel != "" {
		b.Cmdline = strings.Fields(said.Cmdline)
	}
	return b
}

// Quote returns a command line as a text that a POSIX shell reads as the same words, one
// option a line.
func Quote(argv []string) string {
	var b strings.Builder
	for i, word := range argv {
		switch {
		case i == 0:
		case strings.HasPrefix(word, "-") && len(word) > 1:
			b.WriteString(" \\\n  ")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(quoteWord(word, i == 0))
	}
	return b.String()
}

// harmless are the characters that mean nothing to a shell, besides letters and digits.
const harmless = "_@%+:,./-"

// quoteWord quotes a word unless it is harmless. A command with an equals sign would be an
// assignment.
func quoteWord(word string, command bool) string {
	special := func(r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return false
		case r == '=':
			return command
		}
		return !strings.ContainsRune(harmless, r)
	}
	if word != "" && word[0] != '=' && !strings.ContainsFunc(word, special) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
