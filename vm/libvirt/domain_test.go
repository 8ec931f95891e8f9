package libvirt

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

var xmlUpdate = flag.Bool("update", false, "write the golden files of domains anew")

const xmlID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"

// xmlFacts are those of a host with QEMU 7.2 and libvirt 9.0.
func xmlFacts() facts {
	return facts{domainType: typeQEMU, arch: "x86_64", machine: "pc-q35-7.2", emulator: "/usr/bin/qemu-system-x86_64", version: 9000000,
		sameHost: true, caps: abilities{cpuModels: []string{"EPYC", "qemu64"}, graphics: []string{"vnc", "spice"}, virtiofs: true, tpm: true, maxCPUs: 288},
		blobs: map[string]string{"ignition": "/blobs/0", "fw_cfg[0]": "/blobs/1", "smbios.oem_strings[0]": "/blobs/2,a", "smbios.oem_strings[1]": "/blobs/3"}}
}

// xmlCase is a guest and the host that it is for.
type xmlCase struct {
	spec vm.LaunchSpec
	host facts
}

func xmlGuest(cfg vm.Config) xmlCase {
	cfg.Name = "golden"
	return xmlCase{spec: rehearsal(xmlID, cfg), host: xmlFacts()}
}

func (c xmlCase) on(change func(*facts)) xmlCase {
	change(&c.host)
	return c
}

func (c xmlCase) with(change func(*vm.LaunchSpec)) xmlCase {
	change(&c.spec)
	return c
}

func xmlPassword(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("secret<&\n"), 0o600))
	return file
}

// xmlCases have a golden file each, testdata/domain/NAME.xml.
func xmlCases(t *testing.T) map[string]xmlCase {
	t.Helper()
	uefi := func(secure bool) func(*vm.LaunchSpec) {
		return func(s *vm.LaunchSpec) {
			s.Boot = vm.BootFiles{UEFI: &vm.UEFI{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", CodeFormat: vm.FormatRaw, NVRAMFormat: vm.FormatRaw, SMM: secure}}
			s.NVRAM = "/vms/nvram"
		}
	}
	remote := func(f *facts) { f.sameHost = false }
	return map[string]xmlCase{
		"default": xmlGuest(vm.Config{}),
		"kvm":     xmlGuest(vm.Config{}).on(func(f *facts) { f.domainType = typeKVM }),
		"test":    xmlGuest(vm.Config{CPU: vm.CPU{Count: 2}}).on(func(f *facts) { *f = facts{domainType: typeTest, arch: "i686"} }),
		"aarch64": xmlGuest(vm.Config{Networks: []vm.Network{{}}, Disks: []vm.Disk{{Path: "/a.iso"}}}).on(func(f *facts) {
			f.arch, f.machine, f.emulator = "aarch64", "virt-7.2", "/usr/bin/qemu-system-aarch64"
		}),
		"riscv64": xmlGuest(vm.Config{Serials: []vm.Serial{{Type: vm.SerialISA}}}).on(func(f *facts) {
			f.arch, f.machine, f.emulator = "riscv64", "virt", "/usr/bin/qemu-system-riscv64"
		}),
		"bare": xmlGuest(vm.Config{Console: vm.Console{Disabled: true}, Agent: vm.Agent{Disabled: true}, HotplugPorts: -1}),
		"cpu":  xmlGuest(vm.Config{CPU: vm.CPU{Count: 2, Max: 8, Threads: 2, Model: "EPYC,+avx2,-x2apic,svm=off"}, Memory: 512 * vm.MiB, MaxMemory: 4 * vm.GiB}),
		"disks": xmlGuest(vm.Config{Disks: []vm.Disk{
			{Path: "/a.qcow2", Serial: "A-1", Cache: vm.CacheNone, AIO: vm.AIONative, BootOrder: 2},
			{Size: vm.GiB, Interface: vm.InterfaceSCSI, Discard: vm.DiscardIgnore, Throttle: vm.Throttle{IOPS: 100, WriteRate: 10 * vm.MiB}},
			{Path: "/dev/vg/x", Format: vm.FormatRaw, Interface: vm.InterfaceSATA}, {Path: "/d.raw", Interface: vm.InterfaceUSB, ReadOnly: true},
			{Path: "/e.iso"}, {Media: vm.MediaCDROM}, {Size: vm.GiB, Name: "with.dots_and-more"},
		}}).with(func(s *vm.LaunchSpec) {
			s.Images[0].Format, s.Images[2].Device, s.Images[5].Path, s.Images[6].Ephemeral = vm.FormatQcow2, true, "", true
		}),
		"disks-pc": xmlGuest(vm.Config{Disks: []vm.Disk{{Path: "/a.raw", Interface: vm.InterfaceIDE}, {Path: "/b.iso"}, {Path: "/c.raw", Interface: vm.InterfaceSATA}}}).
			on(func(f *facts) { f.machine = "pc-i440fx-7.2" }),
		"encrypted": xmlGuest(vm.Config{Disks: []vm.Disk{{Base: "/base.qcow2", KeyFile: "/key"}}}).with(func(s *vm.LaunchSpec) {
			s.Images[0] = vm.Image{Name: "disk0", Path: "/over.qcow2", Format: vm.FormatQcow2, Encrypted: true,
				Bases: []storage.Image{{Path: "/base.qcow2", Format: vm.FormatQcow2, Encrypted: true}, {Path: "/dev/base", Format: vm.FormatRaw, Device: true}}}
		}),
		"unplugged": xmlGuest(vm.Config{Disks: []vm.Disk{{Size: vm.GiB}, {Size: vm.GiB}}, Networks: []vm.Network{{}, {}}, RNG: &vm.RNG{}}).with(func(s *vm.LaunchSpec) {
			s.Unplugged = []string{"disk0", "net0", vm.DeviceRNG}
			s.Plugged = xmlPlugged()
		}),
		"networks": xmlGuest(vm.Config{Networks: []vm.Network{
			{Forwards: []vm.Forward{{Guest: 22}}, Subnet: "192.168.0.0/24"}, {Type: vm.NetworkTap, Interface: "tap0", Model: "e1000e", Address: "10.1.0.2/16"},
			{Type: vm.NetworkBridge, Interface: "br0", LinkDown: true, BootOrder: 1}, {Type: vm.NetworkNone, MAC: "52:54:00:AA:bb:cc"}}}),
		"serials": xmlGuest(vm.Config{Serials: []vm.Serial{{}, {PTY: true}, {Socket: vm.SerialSocketAuto, Name: "auto"}, {File: "/nowhere/log", Type: vm.SerialISA}, {Type: vm.SerialISA}}}),
		"hardware": xmlGuest(vm.Config{RNG: &vm.RNG{Source: "/dev/hwrng", MaxBytes: 1 << 20}, Balloon: &vm.Balloon{DeflateOnOOM: true, FreePageReporting: true},
			Watchdog: &vm.Watchdog{Model: vm.WatchdogIB700, Action: vm.WatchdogPoweroff}, PVPanic: true, Tablet: true, TPM: &vm.TPM{Version: vm.TPM12},
			GenerationID: "01234567-89ab-cdef-0123-456789abcdef"}),
		"vsock":   xmlGuest(vm.Config{Vsock: &vm.Vsock{CID: 5}}).on(remote),
		"vnc":     xmlGuest(vm.Config{Display: vm.Display{Type: vm.DisplayVNC, PasswordFile: xmlPassword(t)}}),
		"spice":   xmlGuest(vm.Config{Display: vm.Display{Type: vm.DisplaySpice, PasswordFile: xmlPassword(t), Adapter: vm.AdapterVirtio}}),
		"adapter": xmlGuest(vm.Config{Display: vm.Display{Adapter: vm.AdapterRAMFB}}),
		"shares":  xmlGuest(vm.Config{Shares: []vm.Share{{Path: "/", Writable: true}, {Path: "/", Type: vm.Share9p, Security: "mapped-xattr", Mount: "/a b"}}}),
		"blobs": xmlGuest(vm.Config{Ignition: "/etc/passwd", FwCfg: []vm.FwCfg{{Name: "opt/com.example/token", Text: "secret"}}, CloudInit: &vm.CloudInit{},
			SMBIOS: vm.SMBIOS{Manufacturer: `<&>"',`, SKU: "1", OEMStrings: []string{"secret", "secret"}}}),
		"uefi":        xmlGuest(vm.Config{Disks: []vm.Disk{{Path: "/a.raw"}}}).with(uefi(false)),
		"uefi-secure": xmlGuest(vm.Config{Disks: []vm.Disk{{Path: "/a.raw"}}}).with(uefi(true)),
		"uefi-remote": xmlGuest(vm.Config{Disks: []vm.Disk{{Path: "/a.raw"}}}).with(uefi(false)).on(remote),
		"firmware":    xmlGuest(vm.Config{}).with(func(s *vm.LaunchSpec) { s.Boot.Firmware = "qboot.rom" }),
		"rom":         xmlGuest(vm.Config{}).with(func(s *vm.LaunchSpec) { s.Boot.Firmware = "/usr/share/seabios/bios-256k.bin" }),
		"raw": xmlGuest(vm.Config{Args: []string{"-global", "a,b=<&>"}, Devices: []vm.Device{
			{Driver: "virtio-rng-pci", Props: map[string]any{"bus": "hotplug0"}}, {Driver: "usb-kbd", ID: "kbd", Props: map[string]any{"bus": "usb.0", "text": `<&>"',`}}}}),
	}
}

// The passwords of displays are in the domains, and not in the golden files.
func TestDomains(t *testing.T) {
	for name, c := range xmlCases(t) {
		t.Run(name, func(t *testing.T) {
			dom, err := domainOf(c.spec, c.host)
			require.NoError(t, err)
			got, err := shown(dom)
			require.NoError(t, err)
			require.NotContains(t, got, "secret<")
			require.True(t, ours(got))
			golden := filepath.Join("testdata", "domain", name+".xml")
			if *xmlUpdate {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
				require.NoError(t, os.WriteFile(golden, []byte(got+"\n"), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got+"\n", "go test ./vm/libvirt -run TestDomains -update writes it anew")
		})
	}
}

// A real libvirtd takes each of the domains, by its schemas too.
func TestDomainsAreTaken(t *testing.T) {
	b := lifeBackend(t, daemon.Get(t))
	l := daemon.Get(t).Connect(t)
	for name, c := range xmlCases(t) {
		t.Run(name, func(t *testing.T) {
			if c.host.isTest() || c.host.domainType == typeKVM {
				return // for another driver, or another machine
			}
			cfg := c.spec.Config
			cfg.Arch = c.host.arch
			if c.host.i440fx() {
				cfg.Machine = "pc"
			}
			f, err := b.host.facts(t.Context(), cfg)
			require.NoError(t, err)
			f.blobs, f.sameHost, f.inPlace = c.host.blobs, c.host.sameHost, c.host.inPlace
			dom, err := domainOf(c.spec, f)
			require.NoError(t, err)
			dom.Name = "xml-" + name
			text, err := dom.Marshal()
			require.NoError(t, err)
			made, err := l.DomainDefineXMLFlags(text, libvirt.DomainDefineValidate)
			require.NoError(t, err, "%s", text)
			require.NoError(t, l.DomainUndefineFlags(made, libvirt.DomainUndefineNvram))
		})
	}
}
