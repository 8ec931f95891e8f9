//go:build linux

package guest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/firmware"
	"github.com/maqet/maqet/vm"
)

// wantsUEFI reports whether the guest's firmware is a UEFI. A disk needs one on machines that
// have no other; image says that the guest boots from one.
func wantsUEFI(cfg vm.Config, image bool) bool {
	if cfg.Boot.Firmware == "" {
		return image && cfg.Boot.Kernel == "" && archOf(cfg) != "x86_64"
	}
	return cfg.Boot.Firmware == vm.FirmwareUEFI
}

func archOf(cfg vm.Config) string { return cmp.Or(cfg.Arch, kernel.HostArch()) }

// setUEFI chooses a UEFI by QEMU's firmware descriptors.
func (b *Booter) setUEFI(ctx context.Context, cfg vm.Config, out *vm.BootFiles) error {
	arch := archOf(cfg)
	img, err := firmware.Find(b.firmwareDirs(), firmware.Query{
		Arch: arch, Machines: machineNames(arch, cfg.Machine), SecureBoot: cfg.Boot.SecureBoot,
	})
	if err != nil {
		return noFirmware(cfg, arch, err)
	}
	b.log.DebugContext(ctx, "firmware chosen", "vm", cfg.Name, "descriptor", img.Descriptor)
	if img.Memory {
		out.Firmware = img.Code.Filename
		return nil
	}
	out.Firmware = ""
	out.UEFI = &vm.UEFI{Code: img.Code.Filename, CodeFormat: img.Code.Format,
		NVRAM: img.NVRAM.Filename, NVRAMFormat: img.NVRAM.Format, SMM: img.SMM}
	if cfg.Boot.NVRAM == "" {
		return nil
	}
	out.UEFI.NVRAM, err = ownVariables(cfg.Boot.NVRAM, img)
	return err
}

// firmwareDirs are the folders with descriptors.
func (b *Booter) firmwareDirs() []string {
	if b.descriptors != nil {
		return b.descriptors
	}
	return firmware.Dirs()
}

// machineNames are names that descriptors may have for a machine type: they are written for
// versioned ones, and which version an alias means is QEMU's to say.
func machineNames(arch, machine string) []string {
	if machine == "" {
		machine = map[string]string{"x86_64": "q35"}[arch]
		machine = cmp.Or(machine, "virt")
	}
	switch machine {
	case "q35":
		return []string{"q35", "pc-q35-0"}
	case "pc":
		return []string{"pc", "pc-i440fx-0"}
	case "virt":
		return []string{"virt", "virt-0"}
	}
	return []string{machine}
}

// firmwarePackages are Debian's, by architecture.
var firmwarePackages = map[string]string{"x86_64": "ovmf", "aarch64": "qemu-efi-aarch64", "riscv64": "qemu-efi-riscv64"}

func noFirmware(cfg vm.Config, arch string, err error) error {
	what, field, value := "UEFI", "boot.firmware", cfg.Boot.Firmware
	if cfg.Boot.SecureBoot {
		what, field, value = "UEFI with secure boot and enrolled keys", "boot.secure_boot", "true"
	}
	machine := cmp.Or(cfg.Machine, "the default machine")
	return &errors.ConfigError{VM: cfg.Name, Kind: errors.ErrInvalidConfiguration, Problems: []errors.Problem{{
		Field: field, Value: value,
		Message: fmt.Sprintf("no %s for %s, %s, is installed: %s", what, arch, machine, strings.ReplaceAll(err.Error(), "\n", "; ")),
		Fix:     "install the package " + firmwarePackages[arch] + " (that is Debian's; Fedora's begin with edk2), or use another firmware or machine",
	}}}
}

// ownVariables returns the path of the template that the user brought. Raw flash memory has
// the size that its firmware is made for.
func ownVariables(path string, img firmware.Image) (string, error) {
	problem := func(message, fix string) error {
		return &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, Problems: []errors.Problem{{
			Field: "boot.nvram", Value: path, Message: message, Fix: fix}}}
	}
	if img.NVRAM.Filename == "" {
		return "", problem("can't be used: the firmware "+img.Code.Filename+" keeps no variables", "leave it out")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	own, err := os.Stat(abs)
	if err == nil && !own.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err != nil {
		return "", problem(err.Error(), "give the path of an existing file")
	}
	template, err := os.Stat(img.NVRAM.Filename)
	if err != nil {
		return "", err
	}
	if img.NVRAM.Format == "raw" && own.Size() != template.Size() {
		return "", problem(fmt.Sprintf("has %d bytes, the variables of %s have %d", own.Size(), img.Code.Filename, template.Size()),
			"use variables that were made for this firmware")
	}
	return abs, nil
}
