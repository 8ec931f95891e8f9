package libvirt

import (
	"fmt"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// boot is the firmware, and the kernel with its command line.
func (c *creator) boot() {
	boot, os := c.spec.Boot, c.dom.OS
	c.firmware()
	if boot.Kernel == "" {
		return
	}
	os.Kernel, os.Initrd = c.text("boot.kernel", boot.Kernel), c.text("boot.initrd", boot.Initrd)
	line := strings.Join(guestview.Cmdline(c.spec, c.host.arch, c.shareType), " ")
	if len(line) > guestview.MaxCmdline {
		c.problem("boot.cmdline", "", fmt.Sprintf("has %d characters with what is added for shares and the like, the kernel takes %d", len(line), guestview.MaxCmdline),
			"shorten it, or the names and mount points of shares")
	}
	os.Cmdline = c.text("boot.cmdline", line)
}

// firmware is a file for the machine's ROM, or a UEFI in flash memory.
func (c *creator) firmware() {
	boot, os := c.spec.Boot, c.dom.OS
	switch {
	case boot.UEFI != nil:
		c.uefi(*boot.UEFI)
	case strings.HasPrefix(boot.Firmware, "/"):
		if c.spec.NVRAM != "" {
			os.NVRam = &libvirtxml.DomainNVRam{NVRam: c.text("boot.nvram", c.spec.NVRAM)}
		}
		os.Loader = &libvirtxml.DomainLoader{Path: c.text("boot.firmware", boot.Firmware), Type: "rom"}
	case boot.Firmware != "":
		// A name in QEMU's data folder, which QEMU knows and libvirt does not.
		c.raw = append(c.raw, "-bios", c.text("boot.firmware", boot.Firmware))
	}
}

// uefi names the files on a host where they are what was found here. Another host's libvirt
// looks for its own, and keeps the variables itself (libvirt, formatdomain, "BIOS bootloader").
func (c *creator) uefi(u vm.UEFI) {
	os := c.dom.OS
	if u.SMM {
		c.dom.Features.SMM = &libvirtxml.DomainFeatureSMM{State: "on"}
		// Or the guest's system could get round the lock on the variables (edk2's
		// OvmfPkg/README, "SMM support").
		c.dom.PM = &libvirtxml.DomainPM{SuspendToMem: &libvirtxml.DomainPMPolicy{Enabled: "no"}}
	}
	if !c.host.sameHost {
		if template := c.spec.Config.Boot.NVRAM; template != "" {
			c.thisHost("boot.nvram", template)
		}
		os.Firmware = "efi"
		secure := yesNo(u.SMM)
		os.FirmwareInfo = &libvirtxml.DomainOSFirmwareInfo{Features: []libvirtxml.DomainOSFirmwareFeature{
			{Name: "secure-boot", Enabled: secure}, {Name: "enrolled-keys", Enabled: secure}}}
		return
	}
	for _, format := range []string{u.CodeFormat, u.NVRAMFormat} {
		if format != "" && format != vm.FormatRaw {
			c.problem("boot.firmware", u.Code, "has the format "+format+", which libvirt 9.0 takes for raw", "install one in raw files (edk2's .fd)")
		}
	}
	if c.spec.NVRAM != "" {
		os.NVRam = &libvirtxml.DomainNVRam{NVRam: c.text("boot.nvram", c.spec.NVRAM)}
	}
	os.Loader = &libvirtxml.DomainLoader{Path: c.text("boot.firmware", u.Code), Type: "pflash", Readonly: "yes"}
	if u.SMM {
		os.Loader.Secure = "yes"
	}
	if c.spec.NVRAM == "" {
		os.Loader.Stateless = "yes"
	}
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}
