package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Each thing that libvirt can't do is a problem of its field, with something to do about it.
func TestWhatLibvirtCantDo(t *testing.T) {
	disk := func(d vm.Disk) vm.Config { return vm.Config{Disks: []vm.Disk{d}} }
	network := func(n vm.Network) vm.Config { return vm.Config{Networks: []vm.Network{n}} }
	share := func(s vm.Share) vm.Config { return vm.Config{Shares: []vm.Share{s}} }
	serial := func(s vm.Serial) vm.Config { return vm.Config{Serials: []vm.Serial{s}} }
	remote := func(f *facts) { f.sameHost = false }
	arch := func(name string) func(*facts) {
		return func(f *facts) { f.arch, f.machine = name, "virt" }
	}
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink("/dev/null", link))
	for name, c := range map[string]struct {
		field string
		cfg   vm.Config
		on    func(*facts)
	}{
		"template":             {"template", vm.Config{Template: true}, nil},
		"microvm":              {"machine", vm.Config{}, func(f *facts) { f.machine = "microvm" }},
		"cpu model":            {"cpu.model", vm.Config{CPU: vm.CPU{Model: "Haswell-v4"}}, nil},
		"cpu property":         {"cpu.model", vm.Config{CPU: vm.CPU{Model: "max,phys-bits=40"}}, nil},
		"too many":             {"cpu.count", vm.Config{CPU: vm.CPU{Count: 300}}, nil},
		"topology":             {"cpu", vm.Config{CPU: vm.CPU{Count: 3, Cores: 2, Sockets: 1, Threads: 1}}, nil},
		"cpu of riscv64":       {"cpu", vm.Config{CPU: vm.CPU{Cores: 1}}, arch("riscv64")},
		"cpus for virt":        {"cpu.max", vm.Config{CPU: vm.CPU{Max: 2}}, arch("aarch64")},
		"memory for riscv64":   {"max_memory", vm.Config{MaxMemory: vm.GiB}, arch("riscv64")},
		"nvme":                 {"disks[0].interface", disk(vm.Disk{Size: vm.GiB, Interface: vm.InterfaceNVMe}), nil},
		"ide on q35":           {"disks[0].interface", disk(vm.Disk{Size: vm.GiB, Interface: vm.InterfaceIDE}), nil},
		"usb CD-ROM":           {"disks[0].interface", disk(vm.Disk{Path: "/a.iso", Interface: vm.InterfaceUSB}), nil},
		"serial with a space":  {"disks[0].serial", disk(vm.Disk{Size: vm.GiB, Serial: "a b"}), nil},
		"segment":              {"networks[0].type", network(vm.Network{Type: vm.NetworkSegment}), nil},
		"passt":                {"networks[0].type", network(vm.Network{Type: vm.NetworkPasst}), nil},
		"restrict":             {"networks[0].restrict", network(vm.Network{Restrict: true}), nil},
		"capture":              {"networks[0].capture", network(vm.Network{Capture: "/a.pcap"}), nil},
		"usb card":             {"networks[0].model", network(vm.Network{Model: "usb-net"}), nil},
		"read-only virtiofs":   {"shares[0].writable", share(vm.Share{Path: "/", Type: vm.ShareVirtiofs}), nil},
		"virtiofs of sessions": {"shares[0].type", share(vm.Share{Path: "/", Type: vm.ShareVirtiofs, Writable: true}), func(f *facts) { f.inPlace = true }},
		"no virtiofs":          {"shares[0].type", share(vm.Share{Path: "/", Type: vm.ShareVirtiofs, Writable: true}), func(f *facts) { f.caps.virtiofs = false }},
		"mapped files":         {"shares[0].security", share(vm.Share{Path: "/", Type: vm.Share9p, Security: "mapped-file"}), nil},
		"long tag":             {"shares[0].name", share(vm.Share{Path: "/", Name: strings.Repeat("x", 32)}), nil},
		"share elsewhere":      {"shares[0].path", share(vm.Share{Path: "/"}), remote},
		"device elsewhere":     {"fw_cfg[0]", vm.Config{FwCfg: []vm.FwCfg{{Name: "opt/com.example/token", File: "/dev/zero"}}}, remote},
		"share of nothing":     {"shares[0].path", share(vm.Share{Path: "/nowhere"}), nil},
		"user's socket":        {"serials[0].socket", serial(vm.Serial{Socket: "/tmp/s"}), nil},
		"auto of an ISA port":  {"serials[0].socket", serial(vm.Serial{Type: vm.SerialISA, Socket: vm.SerialSocketAuto}), nil},
		"file elsewhere":       {"serials[0].file", serial(vm.Serial{File: "/tmp/f"}), remote},
		"file behind a link":   {"serials[0].file", serial(vm.Serial{File: link}), nil},
		"port of ours":         {"serials[0].name", serial(vm.Serial{Name: "org.maqet.stream.7"}), nil},
		"debug watchdog":       {"watchdog.action", vm.Config{Watchdog: &vm.Watchdog{Action: vm.WatchdogDebug}}, nil},
		"ib700 of virt":        {"watchdog.model", vm.Config{Watchdog: &vm.Watchdog{Model: vm.WatchdogIB700}}, arch("aarch64")},
		"no swtpm":             {"tpm", vm.Config{TPM: &vm.TPM{}}, func(f *facts) { f.caps.tpm = false }},
		"crb of virt":          {"tpm.model", vm.Config{TPM: &vm.TPM{Model: vm.TPMCRB}}, arch("aarch64")},
		"generation of virt":   {"generation_id", vm.Config{GenerationID: "auto"}, arch("aarch64")},
		"no spice":             {"display.type", vm.Config{Display: vm.Display{Type: vm.DisplaySpice}}, func(f *facts) { f.caps.graphics = []string{"vnc"} }},
		"no password":          {"display.password_file", vm.Config{Display: vm.Display{Type: vm.DisplayVNC, PasswordFile: "/nowhere"}}, nil},
		"qxl of virt":          {"display.adapter", vm.Config{Display: vm.Display{Adapter: vm.AdapterQXL}}, arch("aarch64")},
		"ports of a pc":        {"hotplug_ports", vm.Config{HotplugPorts: 2}, func(f *facts) { f.machine = "pc-i440fx-7.2" }},
		"smbios of riscv64":    {"smbios", vm.Config{SMBIOS: vm.SMBIOS{SKU: "1"}}, arch("riscv64")},
		"ignition":             {"ignition", vm.Config{Ignition: "/nowhere"}, nil},
		"daemonize":            {"args[0]", vm.Config{Args: []string{"--daemonize"}}, nil},
		"device's property":    {"devices[0]", vm.Config{Devices: []vm.Device{{Driver: "x", Props: map[string]any{"a": make(chan int)}}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			guest := xmlGuest(c.cfg)
			if c.on != nil {
				guest = guest.on(c.on)
			}
			_, err := domainOf(guest.spec, guest.host)
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.Len(t, bad.Problems, 1, "%v", bad)
			require.Equal(t, c.field, bad.Problems[0].Field)
			require.NotEmpty(t, bad.Problems[0].Message)
			require.NotEmpty(t, bad.Problems[0].Fix)
		})
	}
}

func TestTooManyDevices(t *testing.T) {
	guest := xmlGuest(vm.Config{Networks: make([]vm.Network, 30)})
	_, err := domainOf(guest.spec, guest.host)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	require.Len(t, bad.Problems, 1)
	require.Equal(t, "networks[23]", bad.Problems[0].Field, "after the controller of ports")
}

func TestWhatAnImageNeeds(t *testing.T) {
	guest := xmlGuest(vm.Config{Disks: []vm.Disk{{Path: "/a.qcow2"}}}).with(func(s *vm.LaunchSpec) {
		s.Images[0].Bases = []storage.Image{{Path: "/b.qcow2", Format: vm.FormatQcow2, Encrypted: true}}
	})
	_, err := domainOf(guest.spec, guest.host)
	require.ErrorContains(t, err, "disks[0].key_file")

	guest = guest.with(func(s *vm.LaunchSpec) {
		s.Images[0].Bases = nil
		s.Boot = vm.BootFiles{UEFI: &vm.UEFI{Code: "/code.qcow2", CodeFormat: vm.FormatQcow2}}
	})
	_, err = domainOf(guest.spec, guest.host)
	require.ErrorContains(t, err, "boot.firmware")
	guest = guest.on(func(f *facts) { f.sameHost = false }).with(func(s *vm.LaunchSpec) { s.Config.Boot.NVRAM = "/vars" })
	_, err = domainOf(guest.spec, guest.host)
	require.ErrorContains(t, err, "boot.nvram")
}

// Check asks a real libvirt.
func TestCheck(t *testing.T) {
	b := lifeBackend(t, daemon.Get(t))
	for field, cfg := range map[string]vm.Config{
		"":                     {Accel: "tcg"},
		"disks[0].interface":   {Disks: []vm.Disk{{Size: vm.GiB, Interface: vm.InterfaceNVMe}}},
		"machine":              {Machine: "q53"},
		"binary":               {Binary: "qemu-system-x86_64"},
		"shares[0].path":       {Shares: []vm.Share{{Path: "/nowhere"}}},
		"networks[0].restrict": {Networks: []vm.Network{{Restrict: true}}},
	} {
		cfg.Name = "xml-check"
		err := b.Check(lifeWithin(t), xmlID, cfg)
		if field == "" {
			require.NoError(t, err)
			continue
		}
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad, field)
		require.True(t, bad.Has(field), "%v", bad)
		require.Contains(t, bad.Error(), "xml-check")
	}
	if why := b.host.kvmProblem(); why != nil {
		require.ErrorContains(t, b.Check(lifeWithin(t), xmlID, vm.Config{Accel: "kvm"}), "accel")
	}
	first, err := b.host.facts(lifeWithin(t), vm.Config{Accel: "tcg"})
	require.NoError(t, err)
	require.Equal(t, typeQEMU, first.domainType)
	known, ok := b.host.known.get(factsKey{accel: "tcg"})
	require.True(t, ok)
	require.Equal(t, first, known)
	require.Equal(t, "tcg", known.accel())
}

// libvirt's test driver takes a domain, and knows it as ours.
func TestDomainOfTheTestDriver(t *testing.T) {
	b, err := New(Options{URI: "test:///default?socket=" + daemon.Get(t).Socket(), LogDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	cfg := vm.Config{Name: "xml-test", Disks: []vm.Disk{{Size: vm.GiB, Interface: vm.InterfaceNVMe}}}
	require.NoError(t, b.Check(lifeWithin(t), xmlID, cfg))
	f, err := b.host.facts(lifeWithin(t), cfg)
	require.NoError(t, err)
	dom, err := domainOf(rehearsal(xmlID, cfg), f)
	require.NoError(t, err)
	text, err := dom.Marshal()
	require.NoError(t, err)
	require.NoError(t, b.host.call(lifeWithin(t), "define", cfg.Name, func(l *libvirt.Libvirt) error {
		d, err := l.DomainDefineXMLFlags(text, libvirt.DomainDefineValidate)
		if err != nil {
			return err
		}
		back, err := l.DomainGetXMLDesc(d, 0)
		require.True(t, ours(back))
		return errors.Join(err, l.DomainUndefine(d))
	}))
}
