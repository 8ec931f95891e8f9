package vm

// FirmwareUEFI is the name by which [Boot].Firmware asks for a UEFI.
const FirmwareUEFI = "uefi"

// firmware checks what only a UEFI has, and what only an x86 machine.
func (v *validator) firmware(c Config) {
	b := c.Boot
	v.text("boot.nvram", b.NVRAM)
	if b.Firmware == FirmwareUEFI {
		return
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
