package process

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// files are the paths of a VM's own files.
type files struct {
	dir     string // folder of the sockets
	logDir  string
	console string
	stderr  string
}

// builder turns a configuration into arguments, in one direction.
type builder struct {
	spec  vm.LaunchSpec
	host  hostFacts
	files files

	args     []argument
	problems []errors.Problem
	// inherited are QEMU's descriptors from firstFD upward.
	inherited []inherited
	outputs   []string          // files that QEMU appends to, besides the console's
	captures  map[string]string // files that were made for packets, by the card's name
	blobTexts []blob            // files to make
	served    served
}

// build returns the arguments and what QEMU inherits. What is wrong comes as
// *errors.ConfigError.
func build(spec vm.LaunchSpec, host hostFacts, f files) (*builder, error) {
	b := &builder{spec: spec, host: host, files: f}
	b.identity()
	b.machine()
	b.boot()
	b.monitors()
	b.console()
	b.serialPorts()
	b.ports() // before what may be on them
	b.disks()
	b.networks()
	b.shares()
	b.hardware()
	b.tpm()
	b.serials()
	b.display()
	b.seed()
	b.blobs()
	b.devices()
	b.plugged()
	raw := parseRaw(spec.Config.Args)
	b.problems = append(b.problems, collisions(b.args, raw)...)
	if len(b.problems) > 0 {
		return nil, &errors.ConfigError{VM: spec.Config.Name, Problems: b.problems}
	}
	return b, nil
}

// commandLine returns the whole command line, the user's raw arguments last.
func (b *builder) commandLine() []string {
	return slices.Concat([]string{b.host.binary}, argv(b.args), b.spec.Config.Args)
}

func (b *builder) add(a argument) { b.args = append(b.args, a) }

// json adds an option in JSON form.
func (b *builder) json(option, id, field string, p props) {
	a, err := inJSON(option, id, field, p)
	if err != nil {
		b.problem(field, "", err.Error(), "use values that JSON can express")
		return
	}
	b.add(a)
}

func (b *builder) problem(field, value, message, fix string) {
	b.problems = append(b.problems, errors.Problem{Field: field, Value: value, Message: message, Fix: fix})
}

// identity is the name that tools show, and the UUID by which the process is known
// again; see attach.go.
func (b *builder) identity() {
	b.add(keyed("name", "", "name", "guest", b.spec.Config.Name))
	b.add(plain("uuid", b.spec.ID, "id"))
}

func (b *builder) machine() {
	cfg := b.spec.Config
	memory := cmp.Or(cfg.Memory, vm.DefaultMemory)
	machine := []string{"", b.host.machine}
	machine = append(machine, b.ram(memory)...)
	machine = append(machine, b.flash()...)
	if b.host.arch == "aarch64" && b.host.virt() {
		machine = append(machine, "gic-version", gicVersion(b.host))
	}
	b.add(keyed("machine", "", "machine", machine...))
	b.headroom(memory)
	b.add(plain("accel", b.host.accel, "accel"))
	b.add(plain("cpu", cpuModel(cfg.CPU.Model, b.host), "cpu.model"))
	b.add(keyed("smp", "", "cpu", topology(cfg.CPU)...))
	b.add(keyed("m", "", "memory", b.memory(memory)...))
	// Nothing that was not asked for; no configuration of the host; halted, so that no
	// event is missed; no window.
	for _, option := range []string{"nodefaults", "no-user-config", "S"} {
		b.add(flag(option))
	}
	if b.spec.Incoming != nil {
		b.add(plain("incoming", "defer", "")) // until QMP says where from
	}
	b.add(plain("display", "none", "display"))
	if b.host.sandbox {
		// A guest that breaks out of its devices finds a process that can't start
		// programs or gain rights.
		b.add(keyed("sandbox", "", "sandbox", "", "on", "obsolete", "deny", "elevateprivileges", "deny",
			"spawn", "deny", "resourcecontrol", "deny"))
	}
}

// headroom refuses room for what can't be plugged into machine virt: QEMU takes it, and
// refuses the device later (query-hotpluggable-cpus is "not enabled"; for memory aarch64
// needs ACPI, so UEFI, and riscv64 has no way).
func (b *builder) headroom(memory vm.Size) {
	cfg := b.spec.Config
	if !b.host.virt() {
		return
	}
	if cfg.CPU.Max > cfg.CPU.Vcpus() {
		b.problem("cpu.max", strconv.Itoa(cfg.CPU.Max), "can't be had: no CPUs can be plugged into machine "+b.host.machine,
			"leave it out, and set cpu.count")
	}
	if cfg.MaxMemory > memory && b.host.arch == "riscv64" {
		b.problem("max_memory", cfg.MaxMemory.String(), "can't be had: no memory can be plugged into machine "+b.host.machine,
			"leave it out, and set memory")
	}
}

// gicVersion is the interrupt controller of machine virt. QEMU's own default is version 2,
// which has room for eight CPUs; 3 boots as fast (QEMU manual, "virt generic virtual
// platform"). KVM passes the host's on.
func gicVersion(host hostFacts) string {
	if host.accel == "kvm" {
		return "host"
	}
	return "3"
}

// cpuModels are what emulated guests have by default: the model with all features that
// TCG offers, less those that cost more than they are worth. The module benchmarks has
// what each costs a boot (BenchmarkBootChoices, BenchmarkArchChoices).
//
//   - x86_64: QEMU's own default lacks the ARAT timer, without which a microvm's clock
//     fails. A kernel that sees the fast string instructions (ERMS, FSRM) copies with "rep
//     movsb", which TCG emulates byte by byte.
//   - aarch64: Linux signs each return address where the CPU has pointer authentication,
//     and TCG computes the cipher that the architecture recommends for it: a boot takes
//     four times as long. QEMU's default, cortex-a15, is a 32-bit CPU.
//   - riscv64: QEMU 7.2 has no "max", and its default, rv64, has what Debian asks for.
var cpuModels = map[string]string{"x86_64": "max,-erms,-fsrm", "aarch64": "max,pauth=off", "riscv64": "rv64"}

func cpuModel(model string, host hostFacts) string {
	switch {
	case model != "":
		return model
	case host.accel == "kvm":
		return "host"
	default:
		return cmp.Or(cpuModels[host.arch], "max")
	}
}

func topology(c vm.CPU) []string {
	t := []string{"cpus", strconv.Itoa(c.Vcpus())}
	if c.Max > 0 {
		t = append(t, "maxcpus", strconv.Itoa(c.Max))
		if c.Sockets > 0 { // the product of what is given has to be maxcpus
			c.Sockets = c.Max / (max(c.Cores, 1) * max(c.Threads, 1))
		}
	}
	for _, part := range []struct {
		name string
		n    int
	}{{"sockets", c.Sockets}, {"cores", c.Cores}, {"threads", c.Threads}} {
		if part.n > 0 {
			t = append(t, part.name, strconv.Itoa(part.n))
		}
	}
	return t
}

func (b *builder) boot() {
	boot := b.spec.Boot
	if boot.Firmware != "" {
		if err := guestview.Readable(boot.Firmware); err != nil {
			b.problem("boot.firmware", boot.Firmware, err.Error(), "give the path of a readable file")
		}
		b.add(plain("bios", boot.Firmware, "boot.firmware"))
	}
	if boot.Kernel == "" {
		return
	}
	b.add(plain("kernel", boot.Kernel, "boot.kernel"))
	if boot.Initrd != "" {
		b.add(plain("initrd", boot.Initrd, "boot.initrd"))
	}
	line := strings.Join(guestview.Cmdline(b.spec, b.host.arch, b.shareType), " ")
	if len(line) > guestview.MaxCmdline {
		b.problem("boot.cmdline", "", fmt.Sprintf("has %d characters with what is added for shares and the like, the kernel takes %d", len(line), guestview.MaxCmdline),
			"shorten it, or the names and mount points of shares")
	}
	b.add(plain("append", line, "boot.cmdline"))
}

// chardev adds a socket that QEMU inherits listening. It is not waited for: the guest
// runs whether somebody is connected or not.
func (b *builder) chardev(channel string, more ...string) {
	b.listening(channel, channel, "channel "+channel, more...)
}

// listening adds a character device that is a socket of the VM's own folder, which QEMU
// inherits.
func (b *builder) listening(id, socket, field string, more ...string) {
	fd := b.inherit(inherited{channel: socket})
	pairs := append([]string{"", "socket", "id", id, "fd", fd, "server", "on", "wait", "off"}, more...)
	b.add(keyed("chardev", id, field, pairs...))
}

func (b *builder) monitors() {
	for i := range monitors {
		name := monitorName(i)
		b.chardev(name)
		b.add(keyed("mon", "", "channel "+name, "chardev", name, "mode", "control"))
	}
}

// console is the first serial port. Its log file gets everything, whether or not
// somebody is connected.
func (b *builder) console() {
	if b.spec.Config.Console.Disabled {
		return
	}
	b.chardev(vm.ChannelConsole, "logfile", b.files.console, "logappend", "on")
	b.add(plain("serial", "chardev:"+vm.ChannelConsole, "console"))
}

// serialPorts are the virtio ports of the agent and, where maqet's own init is at the
// other end, of its streams.
func (b *builder) serialPorts() {
	ports := guestview.Ports(b.spec)
	if len(ports) == 0 {
		return
	}
	bus := b.virtioSerialBus("agent")
	for _, p := range ports {
		b.chardev(p.Channel)
		b.json("device", p.Channel, "agent", props{"driver": "virtserialport", "bus": bus,
			"id": p.Channel, "chardev": p.Channel, "name": p.Name})
	}
}

// virtio returns the device's name for the machine's bus.
func (b *builder) virtio(kind string) string {
	if b.host.microvm() {
		return "virtio-" + kind + "-device"
	}
	return "virtio-" + kind + "-pci"
}

func (b *builder) devices() {
	for i, d := range b.spec.Config.Devices {
		id := d.IDAt(i)
		if b.unplugged(id) {
			continue
		}
		field := fmt.Sprintf("devices[%d]", i)
		b.notReserved(field+".id", id)
		p := props{"driver": d.Driver, "id": id}
		for k, v := range d.Props {
			p[k] = v
		}
		b.json("device", id, field, p)
	}
}

// notReserved refuses a name that something of this package's own has.
func (b *builder) notReserved(field, id string) {
	if Reserved(id) {
		b.problem(field, id, "is the ID of a part by which the VM itself is run", "use another")
	}
}
