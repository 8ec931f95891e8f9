package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// recorded are devices as qmp.Manager.AddDevice records them.
var recorded = []qmp.Device{
	{ID: "scratch", Driver: "virtio-blk-pci", Bus: "hotplug0", Props: map[string]any{"addr": "0"},
		Disk: &qmp.Disk{Path: "/images/a,b.qcow2", Format: "qcow2", Serial: "S,1"}},
	{ID: "lan", Driver: "virtio-net-pci", Bus: "hotplug1", Props: map[string]any{"addr": "0"},
		NIC: &qmp.NIC{MAC: "52:54:00:12:34:56", Forwards: []qmp.Forward{{Port: 2222, Guest: 22}}}},
	{ID: "dice", Driver: "virtio-rng-pci", Bus: "hotplug2", Props: map[string]any{"addr": "0"}, RNG: &qmp.RNG{}},
	{ID: "ctl", Driver: "virtio-scsi-pci", Bus: "hotplug3", Props: map[string]any{"addr": "0"}},
	{ID: "sock", Driver: "virtserialport", Bus: "virtio-serial.0", Serial: &qmp.SerialPort{Name: "org.example.a", Socket: "/run/a,server=off"}},
	{ID: "log", Driver: "virtserialport", Bus: "virtio-serial.0", Serial: &qmp.SerialPort{Name: "org.example.b", File: "/var/a,b.log"}},
	{ID: "null", Driver: "virtserialport", Bus: "virtio-serial.0", Serial: &qmp.SerialPort{Name: "org.example.c"}},
	{ID: "more", Driver: "pc-dimm", Memory: &qmp.Memory{Size: 128 << 20}},
	{ID: "second", Driver: "max-x86_64-cpu", CPU: &qmp.CPU{}, Props: map[string]any{"socket-id": 0.0, "core-id": 1.0, "thread-id": 0.0}},
}

// golden compares a command line with a file in testdata; see TestArgv.
func golden(t *testing.T, name string, spec vm.LaunchSpec) {
	t.Helper()
	goldenOn(t, name, spec, facts)
}

func goldenOn(t *testing.T, name string, spec vm.LaunchSpec, host hostFacts) {
	t.Helper()
	plan, err := build(spec, host, paths)
	require.NoError(t, err)
	got := strings.ReplaceAll(strings.Join(plan.commandLine(), "\n"), "\n-", "\n\n-") + "\n"
	file := filepath.Join("testdata", name+".golden")
	if os.Getenv(updateGolden) != "" {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// TestPluggedArgv: what was plugged comes with a start, what was removed does not.
func TestPluggedArgv(t *testing.T) {
	golden(t, "plugged", vm.LaunchSpec{ID: fixedID, Boot: byDefault, Plugged: recorded,
		Config: vm.Config{Name: "golden", MaxMemory: vm.GiB, CPU: vm.CPU{Max: 2}}})
	golden(t, "unplugged", vm.LaunchSpec{ID: fixedID, Boot: byDefault, Unplugged: []string{"device0", "disk0", "net1"},
		Images: []vm.Image{{Name: "disk0", Path: "/images/0", Format: "raw"}, {Name: "data", Path: "/images/1", Format: "raw"}},
		Config: vm.Config{Name: "golden", Disks: []vm.Disk{{Size: vm.MiB}, {Name: "data", Size: vm.MiB}}, Networks: []vm.Network{{}, {}},
			Devices: []vm.Device{{Driver: "virtio-rng-pci"}, {Driver: "virtio-balloon-pci"}}}})
}

// TestHeadroomArgv: ports go on in the next slot when one is full; the sockets grow with
// the number of CPUs.
func TestHeadroomArgv(t *testing.T) {
	golden(t, "headroom", vm.LaunchSpec{ID: fixedID, Boot: byDefault, Config: vm.Config{Name: "golden", HotplugPorts: 9,
		Memory: 512 * vm.MiB, MaxMemory: 4 * vm.GiB, CPU: vm.CPU{Sockets: 1, Cores: 2, Max: 8}}})
}

// TestPortCounts: by machine, and as asked for.
func TestPortCounts(t *testing.T) {
	for _, c := range []struct {
		machine string
		asked   int
		want    int
		problem bool
	}{
		{"pc-q35-7.2", 0, defaultPorts, false}, {"pc-q35-7.2", -1, 0, false}, {"pc-q35-7.2", 1, 1, false}, {"pc-q35-7.2", 32, 32, false},
		{"virt-10.0", 0, defaultPorts, false}, {"pc-i440fx-7.2", 0, 0, false}, {"pc-i440fx-7.2", -1, 0, false}, {"pc-i440fx-7.2", 2, 0, true},
		{"microvm", 0, 0, false}, {"microvm", 2, 0, true},
	} {
		cfg := vm.Config{Name: "c", HotplugPorts: c.asked}
		plan, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault}, with(func(h *hostFacts) { h.machine = c.machine }), paths)
		if c.problem {
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad, c)
			require.True(t, bad.Has("hotplug_ports"), bad)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, strings.Count(strings.Join(plan.commandLine(), "\n"), "pcie-root-port"), c)
	}
}

// TestPluggedProblems: what the VM was changed to since has no room for what is plugged.
func TestPluggedProblems(t *testing.T) {
	for field, spec := range map[string]vm.LaunchSpec{
		"hotplug_ports": {Config: vm.Config{HotplugPorts: 2}, Plugged: recorded[:3]},
		"plugged[0]":    {Config: vm.Config{Devices: []vm.Device{{Driver: "x", ID: "scratch"}}}, Plugged: recorded[:1]},
	} {
		_, err := build(spec, facts, paths)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad, field)
		require.True(t, bad.Has(field), "%s in %v", field, bad)
	}
	_, err := build(vm.LaunchSpec{Config: vm.Config{MaxMemory: vm.GiB}}, with(func(h *hostFacts) { h.machine = "microvm" }), paths)
	require.ErrorContains(t, err, "max_memory")
}

// TestPluggedStart: a real QEMU takes it all, and has each device where it was.
func TestPluggedStart(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{MaxMemory: vm.GiB, CPU: vm.CPU{Max: 2}, Machine: "q35"})
	disk := filepath.Join(h.dir, "disk.raw")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	for _, d := range recorded {
		d = d.Clone()
		switch {
		case d.Disk != nil:
			d.Disk.Path, d.Disk.Format = disk, "raw"
		case d.NIC != nil:
			d.NIC.Forwards = nil
		case d.Serial != nil && d.Serial.Socket != "":
			d.Serial.Socket = filepath.Join(h.dir, "a,b")
		case d.Serial != nil && d.Serial.File != "":
			d.Serial.File = filepath.Join(h.dir, "a,b.log")
		}
		spec.Plugged = append(spec.Plugged, d)
	}
	g := h.launch(spec)
	require.NoError(t, g.Connect(patient(t)))
	for _, d := range spec.Plugged {
		got := ask[string](t, g, "qom-get", map[string]string{"path": "/machine/peripheral/" + d.ID, "property": "type"})
		require.Equal(t, d.Driver, got)
		if n, ours := portNumber(d.Bus); ours {
			members := ask[[]struct{ Type string }](t, g, "qom-list", map[string]string{"path": fmt.Sprintf("/machine/peripheral/%s/%s", portID(n), d.Bus)})
			require.Contains(t, members, struct{ Type string }{"link<" + d.Driver + ">"})
		}
	}
	require.FileExists(t, filepath.Join(h.dir, "a,b.log"))
}
