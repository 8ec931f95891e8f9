package vm

import (
	"slices"
	"strings"
)

// FirmwareUEFI is the name by which [Boot].Firmware asks for a UEFI.
const FirmwareUEFI = "uefi"

// firmware checks what only a UEFI has, and what only an x86 machine.
func (v *validator) firmware(c Config) {
	b := c.Boot
	v.text("boot.nvram", b.NVRAM)
	if b.Firmware == FirmwareUEFI {
		return
	}
	// Files that QEMU has for these architectures have an ending; "default" and "none" are
	// its own words, for riscv64.
	if !strings.ContainsAny(b.Firmware, "./") && !slices.Contains([]string{"", "bios", "qboot", "default", "none"}, b.Firmware) {
		v.add("boot.firmware", b.Firmware, "is not known", `use "bios", "qboot", "uefi", or the path of a firmware image`)
	}
	if (b.Firmware == "bios" || b.Firmware == "qboot") && c.Arch != "" && c.Arch != "x86_64" {
		v.add("boot.firmware", b.Firmware, "is for x86_64, the guest is "+c.Arch, `leave it empty, or set "uefi" where QEMU has one`)
	}
	if b.SecureBoot {
		v.add("boot.secure_boot", "true", "needs a UEFI", `set firmware to "uefi"`)
	}
	if b.NVRAM != "" {
		v.add("boot.nvram", b.NVRAM, "needs a UEFI", `set firmware to "uefi", or leave it out`)
	}
}
