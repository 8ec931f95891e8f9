package snapshot_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// guestOf is a VM with one of each of what a snapshot's memory can depend on.
func guestOf(change func(*vm.Instance)) vm.Instance {
	inst := vm.Instance{ID: "id", Name: "web", State: vm.Running,
		Config: vm.Config{Name: "web", Memory: 512 * vm.MiB, CPU: vm.CPU{Count: 2, Model: "max"}, Disks: []vm.Disk{{Path: "/a.qcow2"}, {Name: "data"}},
			Networks: []vm.Network{{}}, Shares: []vm.Share{{Path: "/x", Type: vm.Share9p}}, Devices: []vm.Device{{Driver: "virtio-rng-pci"}},
			Serials: []vm.Serial{{}}, RNG: &vm.RNG{}, TPM: &vm.TPM{}},
		Plugged:   []qmp.Device{{ID: "more", Memory: &qmp.Memory{Size: 128 << 20}}, {ID: "lan", NIC: &qmp.NIC{MAC: "52:54:00:00:00:01"}}},
		Unplugged: []string{"net0"},
		Runtime:   vm.Runtime{Machine: "pc-q35-7.2", Accel: "tcg"},
	}
	if change != nil {
		change(&inst)
	}
	return inst
}

func recordOf(inst vm.Instance) *snapshot.Record {
	rec := &snapshot.Record{Config: inst.Config, Unplugged: inst.Unplugged, Machine: inst.Runtime.Machine, Accel: inst.Runtime.Accel, Version: "7.2.22"}
	rec.Plugged, _ = json.Marshal(inst.Plugged)
	return rec
}

// TestFits: memory fits no machine that differs in what the guest sees, and the field is named.
func TestFits(t *testing.T) {
	for field, change := range map[string]func(*vm.Instance){
		"memory":                 func(i *vm.Instance) { i.Config.Memory = 256 * vm.MiB },
		"max_memory":             func(i *vm.Instance) { i.Config.MaxMemory = vm.GiB },
		"cpu.count":              func(i *vm.Instance) { i.Config.CPU.Count = 4 },
		"cpu.model":              func(i *vm.Instance) { i.Config.CPU.Model = "" },
		"arch":                   func(i *vm.Instance) { i.Config.Arch = "riscv64" },
		"machine":                func(i *vm.Instance) { i.Runtime.Machine = "pc-q35-8.0" },
		"accel":                  func(i *vm.Instance) { i.Runtime.Accel = "kvm" },
		"disks[1].name":          func(i *vm.Instance) { i.Config.Disks[1].Name = "other" },
		"disks[0].interface":     func(i *vm.Instance) { i.Config.Disks[0].Interface = vm.InterfaceSCSI },
		"disks[0].read_only":     func(i *vm.Instance) { i.Config.Disks[0].ReadOnly = true },
		"disks":                  func(i *vm.Instance) { i.Config.Disks = i.Config.Disks[:1] },
		"networks[0].model":      func(i *vm.Instance) { i.Config.Networks[0].Model = "e1000e" },
		"networks":               func(i *vm.Instance) { i.Config.Networks = nil },
		"shares[0].type":         func(i *vm.Instance) { i.Config.Shares[0].Type = vm.ShareVirtiofs },
		"devices[0].driver":      func(i *vm.Instance) { i.Config.Devices[0].Driver = "edu" },
		"devices[0].props.addr":  func(i *vm.Instance) { i.Config.Devices[0].Props = map[string]any{"addr": "5"} },
		"serials[0].type":        func(i *vm.Instance) { i.Config.Serials[0].Type = vm.SerialISA },
		"rng":                    func(i *vm.Instance) { i.Config.RNG = nil },
		"tpm.version":            func(i *vm.Instance) { i.Config.TPM.Version = "1.2" },
		"balloon":                func(i *vm.Instance) { i.Config.Balloon = &vm.Balloon{} },
		"vsock":                  func(i *vm.Instance) { i.Config.Vsock = &vm.Vsock{} },
		"boot.firmware":          func(i *vm.Instance) { i.Config.Boot.Firmware = "uefi" },
		"hotplug_ports":          func(i *vm.Instance) { i.Config.HotplugPorts = 8 },
		"display.adapter":        func(i *vm.Instance) { i.Config.Display.Adapter = "std" },
		"agent.disabled":         func(i *vm.Instance) { i.Config.Agent.Disabled = true },
		"args":                   func(i *vm.Instance) { i.Config.Args = []string{"-device", "edu"} },
		"plugged[0].memory.size": func(i *vm.Instance) { i.Plugged[0].Memory.Size = 256 << 20 },
		"plugged":                func(i *vm.Instance) { i.Plugged = nil },
		"unplugged":              func(i *vm.Instance) { i.Unplugged = nil },
		"cloud_init":             func(i *vm.Instance) { i.Config.CloudInit = &vm.CloudInit{} },
	} {
		rec := recordOf(guestOf(nil))
		found := snapshot.Fits(rec, guestOf(change), "7.2.22")
		require.Len(t, found, 1, field)
		require.Equal(t, field, found[0].Device)
		require.NotEmpty(t, found[0].Fix)
	}
	found := snapshot.Fits(recordOf(guestOf(nil)), guestOf(func(i *vm.Instance) { i.Config.Memory = 0 }), "7.2.22")
	require.Equal(t, "was 512M and is 256M", found[0].Reason)
}

// TestFitsAnyway: what the guest does not see does not matter, nor how the same is written.
func TestFitsAnyway(t *testing.T) {
	for name, change := range map[string]func(*vm.Instance){
		"nothing": nil,
		"host's own": func(i *vm.Instance) {
			c := &i.Config
			c.Name, c.Labels, c.Lifetime, c.Timeouts.Stop = "other", map[string]string{"a": "b"}, vm.Persistent, 1
			c.Disks[0].Path, c.Disks[0].Cache, c.Disks[0].Throttle.IOPS = "/b.qcow2", vm.CacheNone, 5
			c.Networks[0].Forwards = []vm.Forward{{Guest: 22}}
			c.Shares[0].Path, c.Shares[0].Writable = "/y", true
			c.Serials[0].File, c.RNG.Source, c.Boot.Kernel = "/z", "/dev/hwrng", "/k"
			i.Plugged[1].NIC.Forwards = []qmp.Forward{{Port: 1, Guest: 2}}
		},
		"defaults": func(i *vm.Instance) {
			i.Config.CPU.Sockets, i.Config.CPU.Count = 0, 2
			i.Config.Disks[0].Name, i.Config.Disks[0].Interface, i.Config.Networks[0].Name = "disk0", vm.InterfaceVirtio, "net0"
			i.Config.Machine, i.Config.MaxMemory = "q35", 512*vm.MiB
		},
		"not live": func(i *vm.Instance) { i.State, i.Runtime = vm.Stopped, vm.Runtime{} },
		"pinned":   func(i *vm.Instance) { i.State, i.Config.Machine = vm.Stopped, "pc-q35-7.2" },
	} {
		require.Empty(t, snapshot.Fits(recordOf(guestOf(nil)), guestOf(change), "7.2.22"), name)
	}
	require.Empty(t, snapshot.Fits(recordOf(guestOf(nil)), guestOf(nil), "8.0.0"), "a later QEMU")
	require.Empty(t, snapshot.Fits(recordOf(guestOf(nil)), guestOf(nil), ""), "one that is not known")
	found := snapshot.Fits(recordOf(guestOf(nil)), guestOf(nil), "7.2.3")
	require.Len(t, found, 1)
	require.Equal(t, "QEMU", found[0].Device)
	require.Equal(t, "machine", snapshot.Fits(recordOf(guestOf(nil)), guestOf(func(i *vm.Instance) { i.State, i.Config.Machine = vm.Stopped, "pc" }), "")[0].Device)
}
