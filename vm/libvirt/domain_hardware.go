package libvirt

import (
	"cmp"
	"fmt"
	"time"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// hardware adds the devices that have fields of their own in the configuration.
func (c *creator) hardware() {
	cfg := c.spec.Config
	if cfg.RNG != nil && !c.unplugged(vm.DeviceRNG) {
		c.rng(*cfg.RNG)
	}
	if cfg.Balloon != nil && !c.unplugged(vm.DeviceBalloon) {
		c.dev.MemBalloon = &libvirtxml.DomainMemBalloon{Model: "virtio", AutoDeflate: onOff(cfg.Balloon.DeflateOnOOM),
			FreePageReporting: onOff(cfg.Balloon.FreePageReporting), Alias: alias(vm.DeviceBalloon), Address: c.pci("balloon")}
	}
	if cfg.Watchdog != nil && !c.unplugged(vm.DeviceWatchdog) {
		c.watchdog(*cfg.Watchdog)
	}
	if cfg.PVPanic {
		// libvirt 9.0 knows only the ISA device, which not every machine has.
		c.json("device", "pvpanic", c.place("pvpanic", props{"driver": "pvpanic-pci", "id": vm.DevicePVPanic}))
	}
	if cfg.GenerationID != "" {
		c.generationID(cfg.GenerationID)
	}
	if cfg.Tablet && !c.unplugged(vm.DeviceTablet) {
		c.usb("tablet")
		c.dev.Inputs = append(c.dev.Inputs, libvirtxml.DomainInput{Type: "tablet", Bus: "usb", Alias: alias(vm.DeviceTablet)})
	}
	if cfg.Vsock != nil && !c.unplugged(vm.DeviceVsock) {
		if why := guestview.CheckVsock(); why != nil && c.host.sameHost {
			c.problem("vsock", "", "needs the host's "+guestview.VhostVsock+", which can't be used: "+why.Error(), "load the module vhost_vsock, or leave it out")
		}
		c.dev.VSock = &libvirtxml.DomainVSock{Model: "virtio", Alias: alias(vm.DeviceVsock), Address: c.pci("vsock"),
			CID: &libvirtxml.DomainVSockCID{Auto: "no", Address: fmt.Sprint(cfg.Vsock.CIDOf(c.spec.ID))}}
	}
}

func onOff(v bool) string {
	if v {
		return "on"
	}
	return "off"
}

func (c *creator) rng(r vm.RNG) {
	device := libvirtxml.DomainRNG{Model: "virtio", Alias: alias(vm.DeviceRNG), Address: c.pci("rng"),
		Backend: &libvirtxml.DomainRNGBackend{BuiltIn: &libvirtxml.DomainRNGBackendBuiltIn{}}}
	if r.Source != "" {
		device.Backend = &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: c.absolute("rng.source", r.Source)}}
	}
	if r.MaxBytes > 0 {
		period := cmp.Or(time.Duration(r.Period), time.Second)
		device.Rate = &libvirtxml.DomainRNGRate{Bytes: uint(r.MaxBytes), Period: uint(period.Milliseconds())}
	}
	c.dev.RNGs = append(c.dev.RNGs, device)
}

func (c *creator) watchdog(w vm.Watchdog) {
	model, action := cmp.Or(w.Model, vm.WatchdogI6300ESB), cmp.Or(w.Action, vm.WatchdogReset)
	device := libvirtxml.DomainWatchdog{Model: model, Action: action, Alias: alias(vm.DeviceWatchdog)}
	switch {
	case model == vm.WatchdogIB700 && c.host.arch != "x86_64":
		c.problem("watchdog.model", model, "needs an ISA bus, which machine "+c.host.machine+" has not", `set it to "i6300esb"`)
	case model == vm.WatchdogI6300ESB:
		device.Address = c.pci("watchdog")
	}
	if action == vm.WatchdogDebug {
		c.problem("watchdog.action", action, "can't be had: libvirt has no such action", `use "none": the event WATCHDOG comes with each`)
	}
	c.dev.Watchdogs = append(c.dev.Watchdogs, device)
}

// generationID needs the ACPI tables of a PC. An empty one is new each time the domain is
// made (libvirt, formatdomain, genid), which is at each start.
func (c *creator) generationID(id string) {
	if c.host.arch != "x86_64" {
		c.problem("generation_id", id, "can't be had on machine "+c.host.machine, "leave it out, or use machine q35 or pc of x86_64")
	}
	c.dom.GenID = &libvirtxml.DomainGenID{}
	if id != vm.GenerationIDAuto {
		c.dom.GenID.Value = id
	}
}

// tpm is emulated by swtpm, which libvirt runs. What it holds stays with the domain's
// definition, or longer (libvirt, formatdomain, "TPM device").
func (c *creator) tpm() {
	cfg := c.spec.Config.TPM
	if cfg == nil {
		return
	}
	x86 := c.host.arch == "x86_64"
	model := cmp.Or(cfg.Model, vm.TPMTIS)
	if cfg.Model == "" && x86 && cfg.Version != vm.TPM12 {
		model = vm.TPMCRB
	}
	if model != vm.TPMTIS && !x86 {
		c.problem("tpm.model", model, "exists on x86_64 only", "use tis, or leave it out")
	}
	if !c.host.caps.tpm {
		c.problem("tpm", "", "needs the program swtpm, which libvirt does not find on its host", "install the packages swtpm and swtpm-tools there, or leave tpm out")
	}
	c.dev.TPMs = append(c.dev.TPMs, libvirtxml.DomainTPM{Model: "tpm-" + model, Alias: alias("tpm"),
		Backend: &libvirtxml.DomainTPMBackend{Emulator: &libvirtxml.DomainTPMBackendEmulator{Version: cmp.Or(cfg.Version, vm.TPM20)}}})
}

// needsUSB reports whether something goes to a USB bus.
func (c *creator) needsUSB() bool {
	cfg := c.spec.Config
	for i, d := range cfg.Disks {
		if d.Interface == vm.InterfaceUSB && !c.unplugged(d.NameAt(i)) {
			return true
		}
	}
	return cfg.Tablet && !c.unplugged(vm.DeviceTablet)
}
