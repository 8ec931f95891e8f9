package process

import (
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// hardware adds the devices that have fields of their own in the configuration.
func (b *builder) hardware() {
	cfg := b.spec.Config
	if cfg.RNG != nil && !b.unplugged(vm.DeviceRNG) {
		b.rng(*cfg.RNG)
	}
	if cfg.Balloon != nil && !b.unplugged(vm.DeviceBalloon) {
		b.balloon(*cfg.Balloon)
	}
	if cfg.Watchdog != nil && !b.unplugged(vm.DeviceWatchdog) {
		b.watchdog(*cfg.Watchdog)
	}
	if cfg.PVPanic {
		b.pvpanic()
	}
	if id := b.wantedGenerationID(); id != "" {
		b.generationID(id)
	}
	if cfg.Tablet && !b.unplugged(vm.DeviceTablet) {
		b.tablet()
	}
	if cfg.Vsock != nil && !b.unplugged(vm.DeviceVsock) {
		b.vsock(*cfg.Vsock)
	}
}

// isa reports whether the machine has an ISA bus.
func (h hostFacts) isa() bool { return h.arch == "x86_64" }

// rng adds a source of random numbers and what feeds it. Both have the same name, as
// those that are plugged have.
func (b *builder) rng(r vm.RNG) {
	backend := props{"qom-type": "rng-builtin", "id": vm.DeviceRNG}
	if r.Source != "" {
		path := b.absolute("rng.source", r.Source)
		if err := source(path); err != nil {
			b.problem("rng.source", r.Source, "can't be used: "+err.Error(), "give the path of a file or device that can be read, or leave it out")
		}
		backend["qom-type"], backend["filename"] = "rng-random", path
	}
	device := props{"driver": b.virtio("rng"), "id": vm.DeviceRNG, "rng": "/objects/" + vm.DeviceRNG}
	if r.MaxBytes > 0 {
		period := time.Second
		if r.Period > 0 {
			period = time.Duration(r.Period)
		}
		device["max-bytes"], device["period"] = int64(r.MaxBytes), period.Milliseconds()
	}
	b.json("object", vm.DeviceRNG, "rng", backend)
	b.json("device", vm.DeviceRNG, "rng", device)
}

// source looks at a file or device that QEMU will read from.
func source(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = errors.New("is a folder")
	}
	if err == nil {
		err = unix.Access(path, unix.R_OK)
	}
	return err
}

func (b *builder) balloon(c vm.Balloon) {
	b.json("device", vm.DeviceBalloon, "balloon", props{"driver": b.virtio("balloon"), "id": vm.DeviceBalloon,
		"deflate-on-oom": c.DeflateOnOOM, "free-page-reporting": c.FreePageReporting})
}

func (b *builder) watchdog(w vm.Watchdog) {
	model, action := vm.WatchdogI6300ESB, vm.WatchdogReset
	if w.Model != "" {
		model = w.Model
	}
	if w.Action != "" {
		action = w.Action
	}
	switch {
	case model == vm.WatchdogI6300ESB && b.host.microvm():
		b.problem("watchdog.model", model, "needs a PCI bus, which a microvm has not", `set it to "ib700", or use another machine`)
	case model == vm.WatchdogIB700 && !b.host.isa():
		b.problem("watchdog.model", model, "needs an ISA bus, which machine "+b.host.machine+" has not", `set it to "i6300esb"`)
	}
	b.json("device", vm.DeviceWatchdog, "watchdog", props{"driver": model, "id": vm.DeviceWatchdog})
	b.add(keyed("action", "", "watchdog.action", "watchdog", action))
}

// pvpanic is a PCI device, which the guest finds at once; a microvm has it on its ISA bus.
func (b *builder) pvpanic() {
	driver := "pvpanic-pci"
	if b.host.microvm() {
		driver = "pvpanic"
	}
	b.json("device", vm.DevicePVPanic, "pvpanic", props{"driver": driver, "id": vm.DevicePVPanic})
}

// generationID needs the ACPI tables of a PC (QEMU, docs/specs/vmgenid.rst).
func (b *builder) generationID(id string) {
	if b.host.arch != "x86_64" || b.host.microvm() {
		b.problem("generation_id", id, "can't be had on machine "+b.host.machine, "leave it out, or use machine q35 or pc of x86_64")
	}
	b.json("device", vm.DeviceGenerationID, "generation_id", props{"driver": "vmgenid", "id": vm.DeviceGenerationID, "guid": id})
}

func (b *builder) tablet() {
	if b.host.microvm() {
		b.problem("tablet", "", "needs USB, which a microvm has not", "leave it out and add the device virtio-tablet-device, or use another machine")
		return
	}
	b.json("device", vm.DeviceTablet, "tablet", props{"driver": "usb-tablet", "id": vm.DeviceTablet, "bus": b.usbBus()})
}

func (b *builder) vsock(v vm.Vsock) {
	if err := b.host.vsock; err != nil {
		b.problem("vsock", "", "needs the host's "+guestview.VhostVsock+", which can't be used: "+err.Error(),
			"load the module vhost_vsock (modprobe vhost_vsock) and let this user open the device, or leave it out")
	}
	driver := "vhost-vsock-pci"
	if b.host.microvm() {
		driver = "vhost-vsock-device"
	}
	b.json("device", vm.DeviceVsock, "vsock", props{"driver": driver, "id": vm.DeviceVsock, "guest-cid": v.CIDOf(b.spec.ID)})
}
