package vm

// FirmwareUEFI is the name by which [Boot].Firmware asks for a UEFI.
const FirmwareUEFI = "uefi"

// firmware checks what only a UEFI has.
func (v *validator) firmware(c Config) {
	b := c.Boot
	v.text("boot.nvram", b.NVRAM)
	if b.Firmware == FirmwareUEFI {
		return
	}
	if b.SecureBoot {
		v.add("boot.secure_boot", "true", "needs a UEFI", `set firmware to "uefi"`)
	}
	if b.NVRAM != "" {
		v.add("boot.nvram", b.NVRAM, "needs a UEFI", `set firmware to "uefi", or leave it out`)
	}
}
