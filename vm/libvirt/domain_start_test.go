//go:build linux

package libvirt

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// xmlStart launches a guest, halted, and returns its QEMU's command line. It ends with t.
func xmlStart(t *testing.T, spec vm.LaunchSpec) (vm.Guest, []string) {
	t.Helper()
	b := lifeBackend(t, daemon.Get(t))
	spec.ID = uuid.NewString()
	spec.Config.Name = "xml-" + spec.ID[:8]
	ctx := lifeWithin(t)
	require.NoError(t, b.Check(ctx, spec.ID, spec.Config))
	g, err := b.Launch(ctx, spec)
	if err != nil {
		out, _ := exec.Command("sh", "-c", "cd "+filepath.Dir(daemon.Get(t).Socket())+"/var/log && find . -type f | xargs tail -n 30").CombinedOutput()
		t.Log(string(out))
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // that of t has ended
		defer cancel()
		require.NoError(t, g.Ladder()[len(g.Ladder())-1].Run(ctx))
		<-g.Done()
		require.NoError(t, g.Release())
		inst := vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config}
		require.NoError(t, b.Clean(ctx, inst))
	})
	require.NoError(t, g.Connect(ctx))
	args, err := daemon.Get(t).Process(t, spec.Config.Name).Args()
	require.NoError(t, err)
	return g, args
}

// xmlFile makes a file of a megabyte.
func xmlFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 1<<20))
	return path
}

func xmlDisks(t *testing.T, disks ...vm.Disk) vm.LaunchSpec {
	t.Helper()
	spec := vm.LaunchSpec{Config: vm.Config{Disks: disks}}
	for i, d := range disks {
		img := vm.Image{Name: d.NameAt(i), Format: vm.FormatRaw, ReadOnly: d.IsReadOnly(), Path: d.Path}
		if d.Path != "" {
			img.Path = xmlFile(t, d.Path)
		}
		spec.Images = append(spec.Images, img)
	}
	return spec
}

func xmlBlocks(t *testing.T, g vm.Guest) map[string]string {
	t.Helper()
	list, err := qmp.Do[[]struct {
		Qdev     string
		Inserted *struct {
			Image struct{ Filename string }
		}
	}](t.Context(), g.QMP(), "query-block", nil)
	require.NoError(t, err)
	blocks := map[string]string{}
	for _, b := range list {
		blocks[b.Qdev] = ""
		if b.Inserted != nil {
			blocks[b.Qdev] = filepath.Base(b.Inserted.Image.Filename)
		}
	}
	return blocks
}

func TestDisksOfEveryKindStart(t *testing.T) {
	g, args := xmlStart(t, xmlDisks(t,
		vm.Disk{Path: "a<&>\"',.raw", Serial: "a_b-c.d+e f", Throttle: vm.Throttle{IOPS: 100, ReadRate: vm.MiB}},
		vm.Disk{Path: "b.raw", Interface: vm.InterfaceSCSI, Cache: vm.CacheWriteThrough},
		vm.Disk{Path: "c.raw", Interface: vm.InterfaceSATA, Discard: vm.DiscardIgnore, BootOrder: 1},
		vm.Disk{Path: "d.raw", Interface: vm.InterfaceUSB, Name: "d.d_d"},
		vm.Disk{Path: "e.iso"},
		vm.Disk{Media: vm.MediaCDROM, Interface: vm.InterfaceSCSI},
	))
	t.Log(strings.Join(args, "\n"))
	t.Log(xmlBlocks(t, g))
}

func TestDisksOfAPCStart(t *testing.T) {
	spec := xmlDisks(t, vm.Disk{Path: "a.raw", Interface: vm.InterfaceIDE}, vm.Disk{Path: "b.iso"}, vm.Disk{Path: "c.raw"}, vm.Disk{Path: "d.raw", Interface: vm.InterfaceSATA})
	spec.Config.Machine = "pc"
	g, args := xmlStart(t, spec)
	t.Log(strings.Join(args, "\n"))
	t.Log(xmlBlocks(t, g))
}

func TestEncryptedDiskStarts(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(key, []byte("top secret"), 0o600))
	path := filepath.Join(dir, "a.qcow2")
	m, err := storage.NewManager(storage.Options{Root: dir})
	require.NoError(t, err)
	_, err = m.Create(t.Context(), storage.CreateSpec{Path: path, Format: vm.FormatQcow2, Size: 1 << 20, Encryption: &storage.Encryption{Secret: storage.Secret{File: key}}})
	require.NoError(t, err)
	g, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{Disks: []vm.Disk{{Path: path, KeyFile: key}}},
		Images: []vm.Image{{Name: "disk0", Path: path, Format: vm.FormatQcow2, Encrypted: true}}})
	t.Log(strings.Join(args, "\n"))
	t.Log(xmlBlocks(t, g))
}

func TestFirmwareStarts(t *testing.T) {
	const code, vars = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
	nvram := filepath.Join(t.TempDir(), "nvram")
	data, err := os.ReadFile(vars)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(nvram, data, 0o600))
	_, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{TPM: &vm.TPM{}}, NVRAM: nvram,
		Boot: vm.BootFiles{UEFI: &vm.UEFI{Code: code, CodeFormat: vm.FormatRaw, NVRAM: vars, NVRAMFormat: vm.FormatRaw, SMM: true}}})
	t.Log(strings.Join(args, "\n"))
}

func TestDisplaysStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("<&>\"',\n"), 0o600))
	for _, kind := range []string{vm.DisplayVNC, vm.DisplaySpice} {
		_, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{Display: vm.Display{Type: kind, PasswordFile: file}}})
		t.Log(strings.Join(args, "\n"))
	}
}

func TestSharesStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a<&>"'b`)
	require.NoError(t, os.Mkdir(dir, 0o755))
	_, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{Shares: []vm.Share{
		{Path: dir, Type: vm.Share9p, Name: `<&>"',`}, {Path: dir, Type: vm.ShareVirtiofs, Writable: true}}}})
	t.Log(strings.Join(args, "\n"))
}

func TestHardwareStarts(t *testing.T) {
	blobs := filepath.Join(t.TempDir(), "blob,1")
	require.NoError(t, os.WriteFile(blobs, []byte("{}"), 0o600))
	g, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{
		Memory: 256 * vm.MiB, MaxMemory: vm.GiB, CPU: vm.CPU{Count: 2, Max: 4, Threads: 2}, RNG: &vm.RNG{MaxBytes: 1024}, Balloon: &vm.Balloon{DeflateOnOOM: true},
		Watchdog: &vm.Watchdog{Action: vm.WatchdogPause}, PVPanic: true, Tablet: true, GenerationID: vm.GenerationIDAuto,
		SMBIOS:  vm.SMBIOS{Manufacturer: `A<&>"',`, Serial: "1, 2"},
		Serials: []vm.Serial{{}, {PTY: true, Type: vm.SerialISA}, {Socket: vm.SerialSocketAuto}},
		Networks: []vm.Network{{Forwards: []vm.Forward{{Guest: 22}, {Guest: 53, Proto: "udp"}}}, {Type: vm.NetworkNone}, {Model: "e1000e", Subnet: "192.168.7.0/24", LinkDown: true},
			{Name: "we.b_1", Forwards: []vm.Forward{{Guest: 80}}}},
		Devices: []vm.Device{{Driver: "virtio-rng-pci", Props: map[string]any{"bus": "hotplug0"}}},
		Args:    []string{"-name", "process=a,,b"},
	}})
	t.Log(strings.Join(args, "\n"))
	t.Log(g.Runtime())
}

var _ = exec.Command

func TestOtherMachinesStart(t *testing.T) {
	for _, cfg := range []vm.Config{{Arch: "aarch64"}, {Arch: "riscv64"}, {Machine: "microvm"}, {Arch: "aarch64", Display: vm.Display{Type: vm.DisplayVNC}, TPM: &vm.TPM{}, PVPanic: true, Serials: []vm.Serial{{Type: vm.SerialISA}}}} {
		t.Run(cfg.Arch+cfg.Machine, func(t *testing.T) {
			spec := xmlDisks(t, vm.Disk{Path: "a.raw"}, vm.Disk{Path: "b.iso"})
			spec.Config.Arch, spec.Config.Machine = cfg.Arch, cfg.Machine
			spec.Config.Display, spec.Config.TPM, spec.Config.PVPanic, spec.Config.Serials = cfg.Display, cfg.TPM, cfg.PVPanic, cfg.Serials
			spec.Config.Networks = []vm.Network{{}}
			_, args := xmlStart(t, spec)
			t.Log(strings.Join(args, "\n"))
		})
	}
}
