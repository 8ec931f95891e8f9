package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// updateGolden is the environment variable that makes TestArgv write its files anew.
const updateGolden = "MAQET_UPDATE_GOLDEN"

const fixedID = "01234567-89ab-4cde-8f01-23456789abcd"

var (
	facts = hostFacts{binary: "/usr/bin/qemu-system-x86_64", arch: "x86_64", machine: "pc-q35-7.2", accel: "tcg", sandbox: true}
	paths = files{dir: "/run/maqet/0123456789ab", logDir: "/logs", console: "/logs/console.log", stderr: "/logs/qemu.log"}
	// byDefault is what the default guest boots from.
	byDefault = vm.BootFiles{Kernel: "/cache/vmlinux", Initrd: "/cache/initrd", Cmdline: []string{"quiet", "panic=-1"}, Firmware: "qboot.rom", Default: true}
)

func with(change func(*hostFacts)) hostFacts {
	h := facts
	change(&h)
	return h
}

// TestArgv compares whole command lines with those in testdata. Set updateGolden after
// an intended change, and read the difference.
func TestArgv(t *testing.T) {
	image := func(name, format string) vm.Image {
		return vm.Image{Name: name, Path: "/images/" + name, Format: format}
	}
	for name, c := range map[string]struct {
		cfg    vm.Config
		boot   vm.BootFiles
		images []vm.Image
		host   hostFacts
	}{
		"default": {boot: byDefault, host: facts},
		"kvm":     {boot: byDefault, host: with(func(h *hostFacts) { h.accel, h.sandbox = "kvm", false })},
		"disks": {
			cfg: vm.Config{Disks: []vm.Disk{
				{Path: "/images/a.qcow2"}, {Name: "root", Base: "/images/base.qcow2"}, {Size: vm.GiB},
				{Path: "/images/b.iso", ReadOnly: true}, {Path: "/images/c.raw", Interface: "nvme", Serial: "S,1"}}},
			images: []vm.Image{image("disk0", "qcow2"), image("root", "qcow2"), {Name: "disk2", Path: "/images/disk2", Format: "qcow2", Ephemeral: true},
				image("disk3", "raw"), image("disk4", "raw")},
			host: facts,
		},
		"networks": {
			cfg: vm.Config{Networks: []vm.Network{
				{Forwards: []vm.Forward{{Port: 2222, Guest: 22}, {Host: "::1", Port: 53, Guest: 53, Proto: "udp"}}},
				{Name: "lan", MAC: "52:54:00:12:34:56"}}},
			boot: byDefault, host: facts,
		},
		"microvm": {
			cfg:  vm.Config{Networks: []vm.Network{{}}, Disks: []vm.Disk{{Path: "/images/a.raw"}}},
			boot: byDefault, images: []vm.Image{image("disk0", "raw")},
			host: with(func(h *hostFacts) { h.machine = "microvm" }),
		},
		"template": {cfg: vm.Config{Template: true, Memory: vm.GiB, CPU: vm.CPU{Model: "Nehalem,+aes", Sockets: 1, Cores: 2, Threads: 2}}, boot: byDefault, host: facts},
		"raw":      {cfg: vm.Config{Args: []string{"-device", "virtio-rng-pci", "--global", "x.y=z"}, Devices: []vm.Device{{Driver: "virtio-balloon-pci", Props: map[string]any{"deflate-on-oom": true, "addr": 7}}}}, boot: byDefault, host: facts},
		"quiet":    {cfg: vm.Config{Console: vm.Console{Disabled: true}, Agent: vm.Agent{Disabled: true}}, boot: byDefault, host: facts},
		"aarch64": {boot: vm.BootFiles{Kernel: "/cache/Image", Cmdline: []string{"quiet"}},
			host: with(func(h *hostFacts) {
				h.binary, h.arch, h.machine = "/usr/bin/qemu-system-aarch64", "aarch64", "virt-7.2"
			})},
		"aarch64-kvm": {boot: vm.BootFiles{Kernel: "/cache/Image"},
			host: with(func(h *hostFacts) {
				h.binary, h.arch, h.machine, h.accel = "/usr/bin/qemu-system-aarch64", "aarch64", "virt-7.2", "kvm"
			})},
		"riscv64": {boot: vm.BootFiles{Kernel: "/cache/Image", Initrd: "/cache/initrd", Cmdline: []string{"quiet"}, Default: true},
			host: with(func(h *hostFacts) {
				h.binary, h.arch, h.machine = "/usr/bin/qemu-system-riscv64", "riscv64", "virt"
			})},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Name = "golden"
			spec := vm.LaunchSpec{ID: fixedID, Config: c.cfg, Boot: c.boot, Images: c.images}
			plan, err := build(spec, c.host, paths)
			require.NoError(t, err)
			got := strings.ReplaceAll(strings.Join(plan.commandLine(), "\n"), "\n-", "\n\n-") + "\n"
			file := filepath.Join("testdata", name+".golden")
			if os.Getenv(updateGolden) != "" {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			for range 10 {
				again, err := build(spec, c.host, paths)
				require.NoError(t, err)
				require.Equal(t, plan.commandLine(), again.commandLine(), "the same each time")
			}
		})
	}
}

// TestConsoleArgument: the user's console= wins.
func TestConsoleArgument(t *testing.T) {
	boot := byDefault
	boot.Cmdline = []string{"console=hvc0"}
	plan, err := build(vm.LaunchSpec{ID: fixedID, Boot: boot}, facts, paths)
	require.NoError(t, err)
	require.Equal(t, "console=hvc0", valueOf(plan.commandLine(), "-append"))
}

// TestCollisions: raw arguments may not say again, or otherwise, what is generated.
func TestCollisions(t *testing.T) {
	for _, args := range [][]string{
		{"-machine", "pc"}, {"--machine", "pc"}, {"-M", "pc"}, {"-kernel", "/k"}, {"-initrd", "/i"}, {"-append", "x"}, {"-bios", "b"},
		{"-S"}, {"--S"}, {"-uuid", fixedID}, {"-name", "other"}, {"-nographic"}, {"-display", "gtk"}, {"-enable-kvm"}, {"-accel", "kvm"},
		{"-smp", "2"}, {"-m", "1G"}, {"-cpu", "max"}, {"-sandbox", "off"}, {"-nodefaults"}, {"-no-user-config"}, {"-serial", "stdio"},
		{"-daemonize"}, {"--daemonize"}, {"-runas", "nobody"}, {"-run-with", "user=nobody"},
		{"-device", "virtio-rng-pci,id=net0"}, {"-device", `{"driver":"virtio-rng-pci","id":"agent"}`}, {"-netdev", "user,id=net0"},
		{"-chardev", "null,id=qmp0"}, {"-object", "rng-random,id=mem"}, {"-blockdev", "driver=null-co,node-name=disk0"},
		{"-blockdev", `{"driver":"null-co","node-name":"disk0-file"}`}, {"-drive", "id=disk0"},
		{"-device", "virtio-rng-pci,id=x", "-device", "virtio-rng-pci,id=x"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			cfg := vm.Config{Name: "c", Template: true, Args: args, Networks: []vm.Network{{}}, Disks: []vm.Disk{{Size: vm.MiB}}}
			_, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault,
				Images: []vm.Image{{Name: "disk0", Path: "/d", Format: "raw"}}}, facts, paths)
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.True(t, bad.Has("args"), "%v", bad)
			require.ErrorContains(t, err, strings.TrimLeft(args[0], "-"), "names what the user wrote")
		})
	}
	for _, args := range [][]string{
		{"-device", "virtio-rng-pci,id=rng0"}, {"-netdev", "user,id=other"}, {"-chardev", "null,id=other"}, {"-qmp", "unix:/x,server"},
		{"-global", "a.b=c"}, {"-rtc", "base=utc"}, {"-device", "virtio-rng-pci,id=a,,b"},
	} {
		t.Run("no "+strings.Join(args, " "), func(t *testing.T) {
			_, err := build(vm.LaunchSpec{ID: fixedID, Config: vm.Config{Args: args, Networks: []vm.Network{{}}}, Boot: byDefault}, facts, paths)
			require.NoError(t, err)
		})
	}
}

// TestAllProblemsAtOnce: names that collide among the configuration's own parts are
// reported with the field, together with the rest.
func TestAllProblemsAtOnce(t *testing.T) {
	cfg := vm.Config{
		Devices:  []vm.Device{{Driver: "virtio-rng-pci", ID: "net0"}, {Driver: "x", Props: map[string]any{"f": func() {}}}},
		Networks: []vm.Network{{}},
		Disks:    []vm.Disk{{Name: "n", Path: "/d", Interface: "nvme"}},
		Args:     []string{"-daemonize"},
	}
	boot := byDefault
	boot.Firmware = "/nowhere/bios.bin"
	host := with(func(h *hostFacts) { h.machine = "microvm" })
	_, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: boot, Images: []vm.Image{{Name: "n", Path: "/d", Format: "raw"}}}, host, paths)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	for _, field := range []string{"devices[0]", "devices[1]", "disks[0].interface", "args[0]", "boot.firmware"} {
		require.True(t, bad.Has(field), "%s in %v", field, err)
	}
}

// TestNoRoomOnVirt: what can't be plugged there is refused before anything starts.
func TestNoRoomOnVirt(t *testing.T) {
	cfg := vm.Config{CPU: vm.CPU{Count: 2, Max: 4}, MaxMemory: vm.GiB}
	for arch, want := range map[string][]string{"x86_64": nil, "aarch64": {"cpu.max"}, "riscv64": {"cpu.max", "max_memory"}} {
		host := with(func(h *hostFacts) {
			if h.arch = arch; arch != "x86_64" {
				h.machine = "virt"
			}
		})
		_, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault}, host, paths)
		if want == nil {
			require.NoError(t, err)
			continue
		}
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad)
		require.Len(t, bad.Problems, len(want))
		for _, field := range want {
			require.True(t, bad.Has(field), "%s in %v", field, err)
		}
	}
	_, err := build(vm.LaunchSpec{ID: fixedID, Config: vm.Config{CPU: vm.CPU{Count: 2, Max: 2}}, Boot: byDefault},
		with(func(h *hostFacts) { h.arch, h.machine = "riscv64", "virt" }), paths)
	require.NoError(t, err, "room for none")
}

func TestMACs(t *testing.T) {
	require.Equal(t, guestview.DerivedMAC(fixedID, 0), guestview.DerivedMAC(fixedID, 0))
	require.NotEqual(t, guestview.DerivedMAC(fixedID, 0), guestview.DerivedMAC(fixedID, 1))
	require.NotEqual(t, guestview.DerivedMAC(fixedID, 0), guestview.DerivedMAC("other", 0))
	require.Regexp(t, `^52:54:00(:[0-9a-f]{2}){3}$`, guestview.DerivedMAC(fixedID, 0))
}

// TestReservedNames: what the backend itself makes can't be made twice.
func TestReservedNames(t *testing.T) {
	for _, id := range []string{"agent", "stream0", "console", "qmp3", "virtio-serial", "hotplug0", "hotplug17"} {
		require.True(t, Reserved(id), id)
		for field, cfg := range map[string]vm.Config{
			"devices[0].id":    {Devices: []vm.Device{{Driver: "virtio-rng-pci", ID: id}}},
			"disks[0].name":    {Disks: []vm.Disk{{Name: id, Size: vm.GiB}}},
			"networks[0].name": {Networks: []vm.Network{{Name: id}}},
		} {
			_, err := build(rehearsal(fixedID, cfg), facts, paths)
			require.ErrorContains(t, err, field+" \""+id+"\"", id)
		}
	}
	for _, id := range []string{"agent2", "disk0", "hotplug", "hotplugx"} {
		require.False(t, Reserved(id), id)
	}
}
