package libvirt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// creator turns a configuration into a domain, in one direction: the guest sees what it
// would see of package vm/process. Texts of users go into fields of libvirtxml, which escapes
// them, or into JSON.
type creator struct {
	spec vm.LaunchSpec
	host facts
	dom  *libvirtxml.Domain
	dev  *libvirtxml.DomainDeviceList

	raw      []string // arguments for QEMU
	slots    slots
	problems []errors.Problem
}

// domainOf returns the domain of a guest. What libvirt or this host can't do is an
// *errors.ConfigError. Nothing is made; files that the configuration names are looked at
// where they are this host's. The password of a display is in the domain: it must not be logged
// but by [shown].
func domainOf(spec vm.LaunchSpec, f facts) (*libvirtxml.Domain, error) {
	c := &creator{spec: spec, host: f, dev: &libvirtxml.DomainDeviceList{}}
	c.dom = &libvirtxml.Domain{Type: f.domainType, Devices: c.dev}
	c.identity()
	c.memory()
	if f.isTest() {
		c.nothing()
	} else {
		c.unsupported()
		c.machine()
		c.devices()
	}
	if len(c.problems) > 0 {
		return nil, &errors.ConfigError{VM: spec.Config.Name, Problems: c.problems}
	}
	if len(c.raw) > 0 {
		c.dom.QEMUCommandline = &libvirtxml.DomainQEMUCommandline{}
		for _, word := range c.raw {
			c.dom.QEMUCommandline.Args = append(c.dom.QEMUCommandline.Args, libvirtxml.DomainQEMUCommandlineArg{Value: word})
		}
	}
	return c.dom, nil
}

// nothing is all of a domain that the test driver looks at.
func (c *creator) nothing() {
	c.dom.OS = &libvirtxml.DomainOS{Type: &libvirtxml.DomainOSType{Arch: c.host.arch, Type: "hvm"}}
	c.dom.VCPU = &libvirtxml.DomainVCPU{Value: uint(c.spec.Config.CPU.Vcpus())}
}

// devices adds all devices in the order in which package vm/process does, so that they have
// the same places on their buses.
func (c *creator) devices() {
	c.dev.Emulator = c.host.emulator
	c.slots = slotsOf(c.host)
	c.quiet()
	c.console()
	c.channels()
	c.hotplugPorts()
	c.disks()
	c.networks()
	c.shares()
	c.hardware()
	c.tpm()
	c.serials()
	c.display()
	c.seed()
	c.blobs()
	c.otherDevices()
	c.plugged()
	c.arguments()
}

// quiet keeps libvirt from adding devices that nobody asked for.
func (c *creator) quiet() {
	c.dev.MemBalloon = &libvirtxml.DomainMemBalloon{Model: "none"}
	if !c.needsUSB() {
		c.dev.Controllers = append(c.dev.Controllers, libvirtxml.DomainController{Type: "usb", Index: ptr(uint(0)), Model: "none"})
	}
}

// identity is what the domain is known by.
func (c *creator) identity() {
	c.dom.Name, c.dom.UUID = c.spec.Config.Name, c.spec.ID
	c.text("name", c.dom.Name)
	meta, err := mark{ID: c.spec.ID, Version: metadataVersion, Default: c.spec.Boot.Default}.metadata()
	if err != nil {
		c.problem("name", c.dom.Name, err.Error(), "use another")
	}
	c.dom.Metadata = meta
	// A guest that shuts down ends QEMU, one that reboots goes on in the same, and of one that
	// panics nothing is left that could be mistaken for a guest that runs.
	c.dom.OnPoweroff, c.dom.OnReboot, c.dom.OnCrash = "destroy", "restart", "destroy"
}

// machine is the board with its processor, and what boots on it.
func (c *creator) machine() {
	f := c.host
	c.dom.OS = &libvirtxml.DomainOS{Type: &libvirtxml.DomainOSType{Arch: f.arch, Machine: f.machine, Type: "hvm"}}
	c.dom.Features = &libvirtxml.DomainFeatureList{}
	if f.arch == "x86_64" || c.spec.Boot.UEFI != nil {
		c.dom.Features.ACPI = &libvirtxml.DomainFeature{}
	}
	if f.arch == "x86_64" {
		c.dom.Features.APIC = &libvirtxml.DomainFeatureAPIC{}
	}
	if f.arch == "aarch64" {
		// Version 2, QEMU's own default, has room for eight CPUs.
		c.dom.Features.GIC = &libvirtxml.DomainFeatureGIC{Version: "3"}
		if f.domainType == typeKVM {
			c.dom.Features.GIC.Version = "host"
		}
	}
	c.dom.Clock = &libvirtxml.DomainClock{Offset: "utc"}
	c.cpu()
	c.boot()
}

func (c *creator) problem(field, value, message, fix string) {
	c.problems = append(c.problems, errors.Problem{Field: field, Value: value, Message: message, Fix: fix})
}

// text returns a value that came from outside. What XML can't have is refused: the encoder
// would replace it (XML 1.0, section 2.2).
func (c *creator) text(field, value string) string {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, notXML) {
		c.problem(field, value, "has control characters, or is not UTF-8, which libvirt's XML can't express", "use printable characters")
	}
	return value
}

// notXML reports characters that XML 1.0 does not have.
func notXML(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return false
	case r < 0x20, r >= 0xFFFE && r <= 0xFFFF:
		return true
	}
	return false
}

// unplugged reports whether a device of the configuration was removed while the VM ran.
func (c *creator) unplugged(id string) bool { return slices.Contains(c.spec.Unplugged, id) }

// aliasPrefix is what aliases begin with that libvirt lets its users choose (formatdomain,
// "Devices", alias).
const aliasPrefix = "ua-"

// aliasOf returns the alias of a device, which is its ID in QEMU: the name that the device has
// in the configuration, in letters that libvirt takes.
func aliasOf(name string) string {
	return aliasPrefix + strings.NewReplacer("_", "_u", ".", "_d").Replace(name)
}

// nameOf returns the name for which aliasOf has made an alias.
func nameOf(alias string) (name string, ours bool) {
	name, ours = strings.CutPrefix(alias, aliasPrefix)
	return strings.NewReplacer("_u", "_", "_d", ".").Replace(name), ours
}

func alias(name string) *libvirtxml.DomainAlias { return &libvirtxml.DomainAlias{Name: aliasOf(name)} }

func ptr[T any](v T) *T { return &v }

// memory is the guest's RAM, in KiB.
func (c *creator) memory() {
	size := cmp.Or(c.spec.Config.Memory, vm.DefaultMemory)
	c.dom.Memory = &libvirtxml.DomainMemory{Value: uint(size / vm.KiB), Unit: "KiB"}
}

// unsupported refuses what has no counterpart at all.
func (c *creator) unsupported() {
	cfg := c.spec.Config
	if !c.host.q35() && !c.host.i440fx() && !c.host.virt() {
		c.problem("machine", c.host.machine, "is not one that this backend knows", "use q35, pc or virt")
	}
	if cfg.Template || c.spec.Incoming != nil {
		c.problem("template", fmt.Sprint(cfg.Template), "can't be had with libvirt, which owns the guest's memory", `use backend "process"`)
	}
}
