package process

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/maqet/maqet/vm"
)

// memorySlots is how many memory modules can be plugged where Config.MaxMemory leaves
// room for any. Each adds to the tables that the guest reads when it boots.
const memorySlots = 8

// memory returns the parameters of -m.
func (b *builder) memory(size vm.Size) []string {
	mib := func(s vm.Size) string { return strconv.FormatInt(int64(s/vm.MiB), 10) + "M" }
	m := []string{"size", mib(size)}
	largest := b.spec.Config.MaxMemory
	if largest <= size {
		return m
	}
	if b.host.microvm() {
		b.problem("max_memory", largest.String(), "can't be had on a microvm, which has no memory slots", "leave it out, or use another machine")
	}
	return append(m, "slots", strconv.Itoa(memorySlots), "maxmem", mib(largest))
}

// defaultPorts is what Config.HotplugPorts means by default; BenchmarkHotplugPorts in the
// module benchmarks has what they cost a boot.
const defaultPorts = 4

// Where the ports are: functions of slots from portSlot downward, eight to a slot. It is
// where Intel's chipsets have them, and far from where QEMU puts the devices that don't
// say, so that these have the same addresses with and without ports.
const (
	portSlot  = 0x1c
	functions = 8
	// portChassis is the chassis number of the first; a user's own ports are likely to
	// count from 0 or 1.
	portChassis = 200
)

const portName = "hotplug"

func portID(i int) string { return portName + strconv.Itoa(i) }

// portNumber returns which of the ports a bus is, if it is one.
func portNumber(bus string) (n int, ours bool) {
	digits, ours := strings.CutPrefix(bus, portName)
	n, err := strconv.Atoi(digits)
	return n, ours && err == nil
}

// portCount returns how many ports the machine gets.
func (b *builder) portCount() int {
	switch n := b.spec.Config.HotplugPorts; {
	case !b.host.pcie() || n < 0:
		return 0
	case n == 0:
		return defaultPorts
	default:
		return n
	}
}

// ports adds the empty PCI Express ports for devices that are plugged later: on the root
// bus of such a machine nothing can be plugged (QEMU, docs/pcie.txt, section "Hot-plug").
func (b *builder) ports() {
	n := b.portCount()
	if n == 0 && b.spec.Config.HotplugPorts > 0 {
		b.problem("hotplug_ports", strconv.Itoa(b.spec.Config.HotplugPorts), "can't be had on machine "+b.host.machine,
			"leave it out, or use machine q35 or virt")
	}
	for i := range n {
		port := props{"driver": "pcie-root-port", "id": portID(i), "chassis": portChassis + i,
			"addr": fmt.Sprintf("%x.%x", portSlot-i/functions, i%functions)}
		if i%functions == 0 && n > i+1 {
			port["multifunction"] = true
		}
		b.json("device", portID(i), "hotplug_ports", port)
	}
}
