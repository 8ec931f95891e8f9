package snapshot

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/maqet/maqet/vm"
)

// architectures are QEMU's names of what Go calls otherwise.
var architectures = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

func archOf(c vm.Config) string {
	return cmp.Or(c.Arch, architectures[runtime.GOARCH], runtime.GOARCH)
}

// machineOf is the type of the machine that a configuration asks for.
func machineOf(c vm.Config) string {
	if archOf(c) == "x86_64" {
		return cmp.Or(c.Machine, "q35")
	}
	return cmp.Or(c.Machine, "virt")
}

// visible returns what of a configuration the guest sees but the type of the machine, with
// what empty fields mean. What only the host sees is left out, and what the guest has read long ago
// when its memory is saved: its kernel, say.
func visible(c vm.Config) vm.Config {
	v := vm.Config{
		Arch: archOf(c), CPU: c.CPU,
		Memory: cmp.Or(c.Memory, vm.DefaultMemory), HotplugPorts: c.HotplugPorts,
		Boot:    vm.Boot{Firmware: c.Boot.Firmware, SecureBoot: c.Boot.SecureBoot},
		Devices: c.Devices, Console: c.Console, Agent: c.Agent,
		Display:  vm.Display{Type: c.Display.Type, Adapter: c.Display.Adapter},
		Watchdog: c.Watchdog, TPM: c.TPM, Vsock: c.Vsock, PVPanic: c.PVPanic, Tablet: c.Tablet, Args: c.Args,
	}
	if c.MaxMemory > v.Memory {
		v.MaxMemory = c.MaxMemory
	}
	v.CPU.Count = cmp.Or(c.CPU.Count, max(c.CPU.Sockets, 1)*max(c.CPU.Cores, 1)*max(c.CPU.Threads, 1))
	if c.RNG != nil {
		v.RNG = new(vm.RNG)
	}
	if c.Balloon != nil {
		v.Balloon = c.Balloon
	}
	if c.GenerationID != "" {
		v.GenerationID = vm.GenerationIDAuto
	}
	if c.CloudInit != nil { // a CD-ROM drive
		v.CloudInit = new(vm.CloudInit)
	}
	visibleDisks(&v, c)
	return v
}

// visibleDisks adds what has images, folders and cables behind it on the host.
func visibleDisks(v *vm.Config, c vm.Config) {
	for i, d := range c.Disks {
		disk := vm.Disk{Name: d.NameAt(i), Interface: d.Interface, Media: vm.MediaDisk, ReadOnly: d.IsReadOnly()}
		if d.IsCDROM() {
			disk.Media = vm.MediaCDROM
		} else {
			disk.Interface = cmp.Or(d.Interface, vm.InterfaceVirtio)
		}
		v.Disks = append(v.Disks, disk)
	}
	for i, n := range c.Networks {
		v.Networks = append(v.Networks, vm.Network{Name: n.NameAt(i), Model: cmp.Or(n.Model, vm.ModelVirtio), MAC: n.MAC})
	}
	for i, s := range c.Shares {
		v.Shares = append(v.Shares, vm.Share{Name: s.NameAt(i), Type: s.Type})
	}
	for i, s := range c.Serials {
		v.Serials = append(v.Serials, vm.Serial{Name: s.NameAt(i), Type: s.Kind()})
	}
}

// hidePlugged removes from plugged devices what the guest does not see.
func hidePlugged(plugged any) {
	list, _ := plugged.([]any)
	for _, v := range list {
		device, _ := v.(map[string]any)
		if disk, ok := device["disk"].(map[string]any); ok {
			delete(disk, "path")
			delete(disk, "format")
		}
		if nic, ok := device["nic"].(map[string]any); ok {
			delete(nic, "forwards")
		}
		if serial, ok := device["serial"].(map[string]any); ok {
			delete(serial, "socket")
			delete(serial, "file")
		}
	}
}

// difference is a field that is not what it was.
type difference struct{ field, then, now string }

// differences compares two decoded JSON values, member by member.
func differences(field string, then, now any) (list []difference) {
	a, okA := then.(map[string]any)
	b, okB := now.(map[string]any)
	if okA && okB || then == nil && len(b) > 0 || now == nil && len(a) > 0 {
		prefix := field + "."
		if field == "" {
			prefix = ""
		}
		keys := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
		slices.Sort(keys)
		for _, key := range slices.Compact(keys) {
			list = append(list, differences(prefix+key, a[key], b[key])...)
		}
		return list
	}
	c, okC := then.([]any)
	d, okD := now.([]any)
	if okC && okD && len(c) == len(d) {
		for i := range c {
			list = append(list, differences(fmt.Sprintf("%s[%d]", field, i), c[i], d[i])...)
		}
		return list
	}
	if x, y := text(then), text(now); x != y {
		list = append(list, difference{field, x, y})
	}
	return list
}

// text writes a JSON value for people.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "not set"
	case string:
		return v
	case []any:
		if len(v) == 0 {
			return "not set"
		}
	case map[string]any:
		if len(v) == 0 {
			return "set"
		}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}
