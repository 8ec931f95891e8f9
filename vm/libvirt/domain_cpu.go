package libvirt

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/vm"
)

// cpuModels are what emulated guests have by default, as in package vm/process, which says
// why. A riscv64 guest gets QEMU's own default, rv64.
var cpuModels = map[string]string{"x86_64": "max,-erms,-fsrm", "aarch64": "max,pauth=off"}

// cpu is the processor with its topology.
func (c *creator) cpu() {
	cfg := c.spec.Config.CPU
	n, most := cfg.Vcpus(), max(cfg.Max, cfg.Vcpus())
	c.dom.VCPU = &libvirtxml.DomainVCPU{Placement: "static", Value: uint(most)}
	if most > n {
		c.dom.VCPU.Current = uint(n)
	}
	if limit := c.host.caps.maxCPUs; limit > 0 && uint(most) > limit {
		c.problem("cpu.count", strconv.Itoa(most), fmt.Sprintf("is more than machine %s can have: %d", c.host.machine, limit), "use fewer")
	}
	cpu := c.cpuModel()
	cpu.Topology = topology(cfg, most)
	if t := cpu.Topology; t.Sockets*t.Cores*t.Threads != most {
		c.problem("cpu", "", fmt.Sprintf("has %d sockets with %d cores with %d threads each, which are not %d CPUs", t.Sockets, t.Cores, t.Threads, most),
			"correct sockets, cores or threads, or leave them out")
	}
	c.headroom(cpu, most)
	if c.host.arch == "riscv64" { // of whose CPUs libvirt 9.0 can't even say how they are laid out
		if cfg.Model != "" || cfg.Sockets+cfg.Cores+cfg.Threads > 0 {
			c.problem("cpu", cfg.Model, "can't have a model or a topology: libvirt 9.0 knows nothing of CPUs of "+c.host.arch, "give only count")
		}
		return
	}
	c.dom.CPU = cpu
}

// cpuModel returns the processor's model. Config has it in QEMU's form: a name, and features
// behind commas.
func (c *creator) cpuModel() *libvirtxml.DomainCPU {
	model, asked := c.spec.Config.CPU.Model, c.spec.Config.CPU.Model != ""
	if !asked {
		model = cpuModels[c.host.arch]
		if c.host.domainType == typeKVM {
			model = "host"
		}
	}
	name, features, _ := strings.Cut(model, ",")
	switch {
	case name == "":
		return &libvirtxml.DomainCPU{}
	case features != "" && c.host.arch != "x86_64":
		// libvirt knows hardly any features of others. QEMU takes the last -cpu.
		c.raw = append(c.raw, "-cpu", c.text("cpu.model", model))
		return &libvirtxml.DomainCPU{}
	}
	// What the model has is for QEMU to say; libvirt's tables are older.
	cpu := &libvirtxml.DomainCPU{Check: "none"}
	switch name {
	case "max":
		cpu.Mode = "maximum"
	case "host":
		cpu.Mode = "host-passthrough"
	default:
		cpu.Mode, cpu.Match = "custom", "exact"
		cpu.Model = &libvirtxml.DomainCPUModel{Fallback: "forbid", Value: c.text("cpu.model", name)}
		if known := c.host.caps.cpuModels; known != nil && !slices.Contains(known, name) {
			c.problem("cpu.model", name, "is not a model that libvirt offers there", "use one that `virsh domcapabilities` lists, host or max")
		}
	}
	for f := range strings.SplitSeq(features, ",") {
		if feature, ok := featureOf(f); ok {
			cpu.Features = append(cpu.Features, feature)
		} else if f != "" {
			c.problem("cpu.model", model, "has "+f+", which libvirt can't express", "use +NAME or -NAME for features, and args for anything else")
		}
	}
	return cpu
}

// featureOf reads one of QEMU's ways to write a feature: "+avx2", "-erms", "pauth=off".
func featureOf(s string) (libvirtxml.DomainCPUFeature, bool) {
	policies := map[string]string{"+": "require", "-": "disable", "on": "require", "off": "disable"}
	if name, value, found := strings.Cut(s, "="); found {
		return libvirtxml.DomainCPUFeature{Policy: policies[value], Name: name}, policies[value] != ""
	}
	if s == "" || policies[s[:1]] == "" {
		return libvirtxml.DomainCPUFeature{}, false
	}
	return libvirtxml.DomainCPUFeature{Policy: policies[s[:1]], Name: s[1:]}, true
}

// topology returns how the CPUs are laid out. What is not said is what QEMU makes of it since
// 6.2 (its hw/core/machine-smp.c): cores rather than sockets. libvirt's own choice is sockets.
func topology(cfg vm.CPU, most int) *libvirtxml.DomainCPUTopology {
	t := libvirtxml.DomainCPUTopology{Sockets: cfg.Sockets, Cores: cfg.Cores, Threads: cfg.Threads, Dies: 1}
	if cfg.Max > 0 && t.Sockets > 0 { // they grow with it
		t.Sockets = most / (max(t.Cores, 1) * max(t.Threads, 1))
	}
	switch {
	case t.Cores == 0:
		t.Sockets, t.Threads = cmp.Or(t.Sockets, 1), cmp.Or(t.Threads, 1)
		t.Cores = max(1, most/(t.Sockets*t.Threads))
	case t.Sockets == 0:
		t.Threads = cmp.Or(t.Threads, 1)
		t.Sockets = max(1, most/(t.Cores*t.Threads))
	case t.Threads == 0:
		t.Threads = max(1, most/(t.Sockets*t.Cores))
	}
	return &t
}

// memorySlots is how many memory modules can be plugged, as in package vm/process.
const memorySlots = 8

// headroom is room for what can be plugged. libvirt wants a NUMA node for memory.
func (c *creator) headroom(cpu *libvirtxml.DomainCPU, most int) {
	cfg := c.spec.Config
	size := cmp.Or(cfg.Memory, vm.DefaultMemory)
	if c.host.virt() && cfg.CPU.Max > cfg.CPU.Vcpus() {
		c.problem("cpu.max", strconv.Itoa(cfg.CPU.Max), "can't be had: no CPUs can be plugged into machine "+c.host.machine, "leave it out, and set cpu.count")
	}
	if cfg.MaxMemory <= size {
		return
	}
	if c.host.arch == "riscv64" {
		c.problem("max_memory", cfg.MaxMemory.String(), "can't be had: no memory can be plugged into machine "+c.host.machine, "leave it out, and set memory")
	}
	c.dom.MaximumMemory = &libvirtxml.DomainMaxMemory{Value: uint(cfg.MaxMemory / vm.KiB), Unit: "KiB", Slots: memorySlots}
	cpus := "0"
	if most > 1 {
		cpus = fmt.Sprintf("0-%d", most-1)
	}
	cpu.Numa = &libvirtxml.DomainNuma{Cell: []libvirtxml.DomainCell{{ID: ptr(uint(0)), CPUs: cpus, Memory: uint(size / vm.KiB), Unit: "KiB"}}}
}
