package process

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// machines are those that configurations of hardware are tried on.
var machines = map[string]hostFacts{
	"q35":     facts,
	"pc":      with(func(h *hostFacts) { h.machine = "pc-i440fx-7.2" }),
	"microvm": with(func(h *hostFacts) { h.machine = "microvm" }),
	"aarch64": with(func(h *hostFacts) {
		h.arch, h.machine, h.binary = "aarch64", "virt-7.2", "/usr/bin/qemu-system-aarch64"
	}),
	"riscv64": with(func(h *hostFacts) { h.arch, h.machine, h.binary = "riscv64", "virt", "/usr/bin/qemu-system-riscv64" }),
}

// everything returns all hardware that a machine can have.
func everything(machine string) vm.Config {
	cfg := vm.Config{Name: "golden", RNG: &vm.RNG{Source: "/dev/urandom", MaxBytes: 1024, Period: vm.Duration(2e9)},
		Balloon: &vm.Balloon{DeflateOnOOM: true}, Watchdog: &vm.Watchdog{}, PVPanic: true, Tablet: true,
		Display: vm.Display{Type: vm.DisplayVNC},
		Serials: []vm.Serial{{Name: "log", File: "/tmp/maqet-golden,a.log"}, {Socket: "/tmp/maqet-golden,b.sock"}, {Name: "talk", Socket: "auto"},
			{PTY: true}, {Name: "null"}, {Type: vm.SerialISA}, {Type: vm.SerialISA, Socket: "auto"}}}
	switch machine {
	case "microvm":
		cfg.Watchdog, cfg.Tablet = &vm.Watchdog{Model: vm.WatchdogIB700, Action: vm.WatchdogPause}, false
	case "q35", "pc":
		cfg.GenerationID = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
	}
	return cfg
}

// TestHardwareArgv has a command line for each machine.
func TestHardwareArgv(t *testing.T) {
	for name, host := range machines {
		t.Run(name, func(t *testing.T) {
			cfg := everything(name)
			cfg.Vsock = &vm.Vsock{}
			goldenOn(t, "hardware-"+name, vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault}, host)
		})
	}
	t.Run("sparse", func(t *testing.T) {
		cfg := vm.Config{Name: "golden", RNG: &vm.RNG{}, Balloon: &vm.Balloon{FreePageReporting: true}, Vsock: &vm.Vsock{CID: 42},
			Agent: vm.Agent{Disabled: true}, Console: vm.Console{Disabled: true}, GenerationID: vm.GenerationIDAuto,
			Display: vm.Display{Type: vm.DisplaySpice}, Serials: []vm.Serial{{}, {Type: vm.SerialISA}}}
		goldenOn(t, "hardware-sparse", vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault}, facts)
	})
}

// TestUnpluggedHardware: what the guest let go of does not come with a start.
func TestUnpluggedHardware(t *testing.T) {
	cfg := everything("q35")
	cfg.Vsock = &vm.Vsock{}
	gone := []string{vm.DeviceRNG, vm.DeviceBalloon, vm.DeviceWatchdog, vm.DeviceTablet, vm.DeviceVsock, "log", "serial1", "talk", "serial3", "null"}
	plan, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault, Unplugged: gone}, facts, paths)
	require.NoError(t, err)
	line := strings.Join(plan.commandLine(), "\n")
	for _, id := range gone {
		require.NotContains(t, line, `"id":"`+id+`"`)
		require.NotContains(t, line, "id="+id)
	}
	for _, absent := range []string{"-action", "qemu-xhci", "rng-random"} {
		require.NotContains(t, line, absent)
	}
	require.Contains(t, line, `"id":"serial5"`, "of an ISA bus nothing can be unplugged")
	require.Empty(t, plan.outputs, "no file is made")
}

// TestMachinesDiffer: what a machine can't have is said by field, with what to do.
func TestMachinesDiffer(t *testing.T) {
	for _, c := range []struct {
		field, fix string
		cfg        vm.Config
		on         []string
	}{
		{"watchdog.model", "ib700", vm.Config{Watchdog: &vm.Watchdog{}}, []string{"microvm"}},
		{"watchdog.model", "i6300esb", vm.Config{Watchdog: &vm.Watchdog{Model: vm.WatchdogIB700}}, []string{"aarch64", "riscv64"}},
		{"generation_id", "q35", vm.Config{GenerationID: "auto"}, []string{"microvm", "aarch64", "riscv64"}},
		{"tablet", "virtio-tablet-device", vm.Config{Tablet: true}, []string{"microvm"}},
		{"display.adapter", "virtio", vm.Config{Display: vm.Display{Adapter: vm.AdapterStd}}, []string{"microvm"}},
		{"display.adapter", "virtio", vm.Config{Display: vm.Display{Adapter: vm.AdapterCirrus}}, []string{"microvm"}},
		{"display.adapter", "virtio", vm.Config{Display: vm.Display{Adapter: vm.AdapterQXL}}, []string{"microvm", "aarch64", "riscv64"}},
		{"display.adapter", "virtio", vm.Config{Display: vm.Display{Adapter: vm.AdapterRAMFB}}, []string{"riscv64"}},
		{"", "", vm.Config{RNG: &vm.RNG{}, Balloon: &vm.Balloon{}, PVPanic: true, Vsock: &vm.Vsock{}, Display: vm.Display{Type: vm.DisplayVNC},
			Serials: []vm.Serial{{}, {Type: vm.SerialISA}}}, nil},
		{"", "", vm.Config{Display: vm.Display{Type: vm.DisplaySpice}}, nil},
	} {
		for name, host := range machines {
			_, err := build(vm.LaunchSpec{ID: fixedID, Config: c.cfg, Boot: byDefault}, host, paths)
			wrong := strings.Contains(strings.Join(c.on, " "), name)
			if !wrong {
				require.NoError(t, err, "%s on %s", c.field, name)
				continue
			}
			bad := requireProblem(t, err, c.field)
			require.Contains(t, bad.Problems[0].Fix, c.fix, "%s on %s", c.field, name)
		}
	}
}

func requireProblem(t *testing.T, err error, field string) *errors.ConfigError {
	t.Helper()
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad, field)
	require.True(t, bad.Has(field), "%s in %v", field, err)
	return bad
}

// TestHostLacks: what this host, or its QEMU, can't do is said by field.
func TestHostLacks(t *testing.T) {
	host := with(func(h *hostFacts) {
		h.vsock, h.spice = syscall.ENOENT, errors.New("-spice: spice is not supported")
	})
	cfg := vm.Config{Vsock: &vm.Vsock{}, Display: vm.Display{Type: vm.DisplaySpice}, RNG: &vm.RNG{Source: "/nowhere/rng"}}
	_, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault}, host, paths)
	bad := requireProblem(t, err, "vsock")
	require.Len(t, bad.Problems, 3)
	require.ErrorContains(t, err, "modprobe vhost_vsock")
	require.ErrorContains(t, err, "no such file or directory")
	requireProblem(t, err, "display.type")
	require.ErrorContains(t, err, "qemu-system-modules-spice")
	requireProblem(t, err, "rng.source")

	h := newHouse(t)
	err = h.b.Check(t.Context(), fixedID, vm.Config{Vsock: &vm.Vsock{}})
	if _, statErr := os.Stat(guestview.VhostVsock); statErr == nil {
		require.NoError(t, err)
	} else {
		requireProblem(t, err, "vsock")
	}
}

// TestHardwareIDs: the devices have stable names, which nothing else can have.
func TestHardwareIDs(t *testing.T) {
	for _, id := range []string{vm.DeviceRNG, vm.DeviceBalloon, vm.DeviceWatchdog, vm.DevicePVPanic, vm.DeviceTablet, vm.DeviceGenerationID,
		vm.DeviceAdapter, "log", "serial5"} {
		cfg := everything("q35")
		cfg.Devices = []vm.Device{{Driver: "virtio-serial-pci", ID: id}}
		_, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault}, facts, paths)
		requireProblem(t, err, "devices[0]")
		require.ErrorContains(t, err, id)
	}
	for _, name := range []string{guestview.AgentPort, guestview.StreamPort0, "org.maqet.mine", vm.ChannelConsole, virtioSerial, vm.DisplayVNC} {
		_, err := build(vm.LaunchSpec{ID: fixedID, Config: vm.Config{Serials: []vm.Serial{{Name: name}}}, Boot: byDefault}, facts, paths)
		requireProblem(t, err, "serials[0].name")
	}
}

// TestHardwareStarts: the QEMU of each machine takes all of it, and has the devices by name.
func TestHardwareStarts(t *testing.T) {
	h := newHouse(t)
	for name, host := range machines {
		t.Run(name, func(t *testing.T) {
			h := &house{t: t, b: h.b, dir: h.dir}
			binary := filepath.Base(host.binary)
			_, err := h.b.prober.features(t.Context(), host.binary)
			testhost.Needs(t, binary, err)
			cfg := everything(name)
			cfg.Name, cfg.Arch, cfg.Machine = "", host.arch, map[bool]string{true: "virt", false: name}[host.arch != "x86_64"]
			cfg.Serials[0].File = filepath.Join(t.TempDir(), "log")
			cfg.Serials[1].Socket = filepath.Join(h.dir, name+",id=x")
			g, _ := h.running(cfg)
			ids := []string{vm.DeviceRNG, vm.DeviceBalloon, vm.DeviceWatchdog, vm.DevicePVPanic, vm.DeviceAdapter, "log", "serial6"}
			if cfg.Tablet {
				ids = append(ids, vm.DeviceTablet)
			}
			if cfg.GenerationID != "" {
				ids = append(ids, vm.DeviceGenerationID)
				require.Equal(t, cfg.GenerationID, ask[struct{ GUID string }](t, g, "query-vm-generation-id", nil).GUID)
			}
			for _, id := range ids {
				require.NotEmpty(t, ask[string](t, g, "qom-get", map[string]string{"path": "/machine/peripheral/" + id, "property": "type"}))
			}
		})
	}
}
