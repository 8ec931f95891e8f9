package process

import "github.com/maqet/maqet/internal/guestview"

// Nodes of the flash memory that holds a UEFI: the program, and its variables.
const (
	nodeCode  = "pflash0"
	nodeNVRAM = "pflash1"
)

// flash adds the flash memory of a UEFI, and returns the machine's properties for it (QEMU's
// docs/interop/firmware.json, FirmwareMappingFlash).
func (b *builder) flash() []string {
	uefi := b.spec.Boot.UEFI
	if uefi == nil {
		return nil
	}
	if err := guestview.Readable(uefi.Code); err != nil {
		b.problem("boot.firmware", uefi.Code, err.Error(), "install the firmware again")
	}
	b.flashNode(nodeCode, uefi.Code, uefi.CodeFormat, true)
	machine := []string{"pflash0", nodeCode}
	if b.spec.NVRAM != "" {
		b.flashNode(nodeNVRAM, b.spec.NVRAM, uefi.NVRAMFormat, false)
		machine = append(machine, "pflash1", nodeNVRAM)
	}
	if uefi.SMM {
		machine = append(machine, "smm", "on")
		// The guest's system can't write the variables, only the firmware; and it can't get
		// round that by suspending to RAM (edk2's OvmfPkg/README, "SMM support").
		b.add(keyed("global", "", "boot.firmware", "driver", "cfi.pflash01", "property", "secure", "value", "on"))
		b.add(keyed("global", "", "boot.firmware", "driver", "ICH9-LPC", "property", "disable_s3", "value", "1"))
	}
	return machine
}

func (b *builder) flashNode(node, path, format string, readOnly bool) {
	b.json("blockdev", node, "boot.firmware", props{"driver": format, "node-name": node, "read-only": readOnly,
		"file": props{"driver": "file", "filename": path, "read-only": readOnly}})
}
