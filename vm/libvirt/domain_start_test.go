//go:build linux

package libvirt

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
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

// xmlBlocks returns the files of the disks that QEMU has, by the disks' names.
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
		name := "" // of the first element that is a device of the configuration
		for part := range strings.SplitSeq(b.Qdev, "/") {
			if known, ours := nameOf(part); ours {
				name = known
				break
			}
		}
		blocks[name] = ""
		if b.Inserted != nil {
			blocks[name] = filepath.Base(b.Inserted.Image.Filename)
		}
	}
	return blocks
}

func TestDisksOfEveryKindStart(t *testing.T) {
	g, _ := xmlStart(t, xmlDisks(t,
		vm.Disk{Path: `a<&>"',.raw`, Serial: "a_b-c.d+e", Throttle: vm.Throttle{IOPS: 100, ReadRate: vm.MiB}},
		vm.Disk{Path: "b.raw", Interface: vm.InterfaceSCSI, Cache: vm.CacheWriteThrough},
		vm.Disk{Path: "c.raw", Interface: vm.InterfaceSATA, Discard: vm.DiscardIgnore, BootOrder: 1},
		vm.Disk{Path: "d.raw", Interface: vm.InterfaceUSB, Name: "d.d_d"},
		vm.Disk{Path: "e.iso"},
		vm.Disk{Media: vm.MediaCDROM, Interface: vm.InterfaceSCSI},
	))
	require.Equal(t, map[string]string{"disk0": `a<&>"',.raw`, "disk1": "b.raw", "disk2": "c.raw", "d.d_d": "d.raw", "disk4": "e.iso", "disk5": ""}, xmlBlocks(t, g))
}

func TestDisksOfAPCStart(t *testing.T) {
	spec := xmlDisks(t, vm.Disk{Path: "a.raw", Interface: vm.InterfaceIDE}, vm.Disk{Path: "b.iso"}, vm.Disk{Path: "c.raw"}, vm.Disk{Path: "d.raw", Interface: vm.InterfaceSATA})
	spec.Config.Machine = "pc"
	g, _ := xmlStart(t, spec)
	require.Equal(t, map[string]string{"disk0": "a.raw", "disk1": "b.iso", "disk2": "c.raw", "disk3": "d.raw"}, xmlBlocks(t, g))
	require.Regexp(t, "^pc-i440fx-", g.Runtime().Machine)
}

// The key of a disk is nowhere but in libvirt's memory, and not even there when the guest is gone.
func TestEncryptedDiskStarts(t *testing.T) {
	dir, key := t.TempDir(), "top secret"
	keyFile, path := filepath.Join(dir, "key"), filepath.Join(dir, "a.qcow2")
	require.NoError(t, os.WriteFile(keyFile, []byte(key), 0o600))
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=k,format=raw,file="+keyFile,
		"-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10", path, "1M").CombinedOutput()
	require.NoError(t, err, "%s", out)
	spec := vm.LaunchSpec{Config: vm.Config{Disks: []vm.Disk{{Path: path, KeyFile: keyFile}}},
		Images: []vm.Image{{Name: "disk0", Path: path, Format: vm.FormatQcow2, Encrypted: true}}}
	l := daemon.Get(t).Connect(t)
	t.Run("guest", func(t *testing.T) {
		g, args := xmlStart(t, spec)
		require.Len(t, xmlBlocks(t, g), 1)
		require.NotContains(t, strings.Join(args, " "), key)
		n, err := l.ConnectNumOfSecrets()
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
	})
	n, err := l.ConnectNumOfSecrets()
	require.NoError(t, err)
	require.Zero(t, n)

	require.NoError(t, os.Chmod(keyFile, 0o644))
	spec.ID, spec.Config.Name = uuid.NewString(), "xml-open-key"
	_, err = lifeBackend(t, daemon.Get(t)).Launch(lifeWithin(t), spec)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	require.True(t, bad.Has("disks[0].key_file"), bad)
}

func TestSecureFirmwareStarts(t *testing.T) {
	const code, vars = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
	nvram := filepath.Join(t.TempDir(), "nvram")
	data, err := os.ReadFile(vars)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(nvram, data, 0o600))
	_, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{TPM: &vm.TPM{}}, NVRAM: nvram,
		Boot: vm.BootFiles{UEFI: &vm.UEFI{Code: code, CodeFormat: vm.FormatRaw, NVRAM: vars, NVRAMFormat: vm.FormatRaw, SMM: true}}})
	line := strings.Join(args, "\n")
	for _, part := range []string{`"filename":"` + nvram + `"`, `"filename":"` + code + `"`, "smm=on", "driver=cfi.pflash01,property=secure,value=on",
		"ICH9-LPC.disable_s3=1", `"driver":"tpm-crb"`} {
		require.Contains(t, line, part)
	}
}

// The password is QEMU's from the beginning, and nobody reads it anywhere.
func TestDisplaysStart(t *testing.T) {
	const password = `<&>"',`
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
	l := daemon.Get(t).Connect(t)
	for _, kind := range []string{vm.DisplayVNC, vm.DisplaySpice} {
		g, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{Display: vm.Display{Type: kind, PasswordFile: file}}})
		require.NotContains(t, strings.Join(args, "\n"), password)
		require.Contains(t, g.Runtime().Sockets[kind], ".sock")
		dom, err := l.DomainLookupByName(g.(*guest).name)
		require.NoError(t, err)
		open, err := l.DomainGetXMLDesc(dom, 0)
		require.NoError(t, err)
		require.NotContains(t, open, "passwd=")
		secure, err := l.DomainGetXMLDesc(dom, libvirt.DomainXMLSecure)
		require.NoError(t, err)
		var d libvirtxml.Domain
		require.NoError(t, d.Unmarshal(secure))
		got := d.Devices.Graphics[0]
		if kind == vm.DisplayVNC {
			require.Equal(t, password, got.VNC.Passwd)
		} else {
			require.Equal(t, password, got.Spice.Passwd)
		}
	}
}

func TestSharesStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a<&>"'b`)
	require.NoError(t, os.Mkdir(dir, 0o755))
	comma := filepath.Join(t.TempDir(), "a,b")
	require.NoError(t, os.Mkdir(comma, 0o755))
	_, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{Shares: []vm.Share{
		{Path: comma, Type: vm.Share9p, Name: `<&>"',`}, {Path: dir, Type: vm.ShareVirtiofs, Writable: true}}}})
	line := strings.Join(args, "\n")
	require.Contains(t, line, "path="+strings.ReplaceAll(comma, ",", ",,")+",")
	require.Contains(t, line, `"mount_tag":"<&>\"',"`)
	require.Contains(t, line, `"driver":"vhost-user-fs-pci"`)
}

func TestHardwareStarts(t *testing.T) {
	dir := t.TempDir()
	g, args := xmlStart(t, vm.LaunchSpec{Config: vm.Config{
		Memory: 256 * vm.MiB, MaxMemory: vm.GiB, CPU: vm.CPU{Count: 2, Max: 4, Threads: 2}, RNG: &vm.RNG{MaxBytes: 1024}, Balloon: &vm.Balloon{DeflateOnOOM: true},
		Watchdog: &vm.Watchdog{Action: vm.WatchdogPause}, PVPanic: true, Tablet: true, GenerationID: vm.GenerationIDAuto,
		SMBIOS:   vm.SMBIOS{Manufacturer: `A<&>"',`, Serial: "1, 2"},
		Serials:  []vm.Serial{{File: filepath.Join(dir, "log")}, {PTY: true, Type: vm.SerialISA}, {Socket: vm.SerialSocketAuto}},
		Networks: []vm.Network{{Type: vm.NetworkNone}, {Model: "e1000e", Subnet: "192.168.7.0/24", LinkDown: true}},
		Devices:  []vm.Device{{Driver: "virtio-rng-pci", Props: map[string]any{"bus": "hotplug0"}}},
		Args:     []string{"-name", `process=a,,<&>"'`},
	}})
	line := strings.Join(args, "\n")
	for _, part := range []string{`type=1,manufacturer=A<&>"',,,serial=1,, 2`, "\n" + `process=a,,<&>"'`, `"driver":"pvpanic-pci"`, `"driver":"vmgenid"`} {
		require.Contains(t, line, part)
	}
	rt := g.Runtime()
	require.Regexp(t, "^/dev/pts/", rt.Terminals["serial1"])
	require.Contains(t, rt.Sockets["serial2"], "serial2")
	info, err := os.Stat(filepath.Join(dir, "log"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.Len(t, rt.Cards, 2)
}

func TestOtherArchitecturesStart(t *testing.T) {
	for arch, cpu := range map[string]string{"aarch64": "max,pauth=off", "riscv64": ""} {
		t.Run(arch, func(t *testing.T) {
			spec := xmlDisks(t, vm.Disk{Path: "a.raw"}, vm.Disk{Path: "b.iso"})
			spec.Config.Arch, spec.Config.Networks = arch, []vm.Network{{}}
			g, args := xmlStart(t, spec)
			require.Equal(t, map[string]string{"disk0": "a.raw", "disk1": "b.iso"}, xmlBlocks(t, g))
			require.Contains(t, strings.Join(args, "\n"), cpu)
		})
	}
}

// Texts for the guest are on no command line, and their files go with it.
func TestBlobsStart(t *testing.T) {
	ignition := filepath.Join(t.TempDir(), "a<&>,b")
	require.NoError(t, os.WriteFile(ignition, []byte("{}"), 0o600))
	cfg := vm.Config{Ignition: ignition, FwCfg: []vm.FwCfg{{Name: "opt/com.example/token", Text: "top secret"}},
		SMBIOS: vm.SMBIOS{OEMStrings: []string{"top secret"}}}
	b := lifeBackend(t, daemon.Get(t))
	volumes := func() []storage.File {
		files, err := b.volumes.Files(t.Context(), storage.FileFilter{})
		require.NoError(t, err)
		return files
	}
	spec := vm.LaunchSpec{ID: uuid.NewString(), Config: cfg}
	paths, err := b.writeBlobs(t.Context(), spec)
	require.NoError(t, err)
	require.Len(t, paths, 3)
	if b.volumes != nil {
		require.Len(t, volumes(), 3)
		paths, err = b.writeBlobs(t.Context(), spec)
		require.NoError(t, err, "again, as after a launch that was killed")
	}
	require.NoError(t, b.removeBlobs(t.Context(), spec.ID, cfg))
	require.NoError(t, b.removeBlobs(t.Context(), spec.ID, cfg), "again")
	if b.volumes != nil {
		require.Empty(t, volumes())
	}
	for _, file := range paths {
		require.NoFileExists(t, file)
	}

	_, args := xmlStart(t, vm.LaunchSpec{Config: cfg})
	line := strings.Join(args, "\n")
	require.NotContains(t, line, "top secret")
	require.Contains(t, line, "name=opt/com.example/token,file=")
	require.Contains(t, line, "type=11,path=")
}

// Forwards are open before the guest runs, and stay what they are when another process attaches.
func TestForwardsAreOpened(t *testing.T) {
	b := lifeBackend(t, daemon.Get(t))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	spec := vm.LaunchSpec{Config: vm.Config{Networks: []vm.Network{
		{Forwards: []vm.Forward{{Guest: 22}, {Guest: 22, Host: "127.0.0.2"}, {Guest: 53, Proto: "udp"}}}, {Name: "we.b_1", Forwards: []vm.Forward{{Guest: 80}}}}}}
	g, _ := xmlStart(t, spec)
	open := g.Runtime().Forwards
	require.Len(t, open["net0"], 3)
	require.Len(t, open["we.b_1"], 1)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.2:%d", open["net0"][1].Port))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	again, err := b.openForwards(lifeWithin(t), g.(*guest).domain(), "again", g.(*guest).cards)
	require.NoError(t, err)
	require.Equal(t, open, again)

	port := taken.Addr().(*net.TCPAddr).Port
	for _, f := range []vm.Forward{{Guest: 80, Port: port}, {Guest: 80, Host: "no address; quit"}, {Guest: 80, Proto: "tcp::1-:1\nquit"}} {
		card := guestview.Card{Network: vm.Network{Forwards: []vm.Forward{f}}, Field: "networks[0]", Name: "net0"}
		_, err = b.openForwards(lifeWithin(t), g.(*guest).domain(), "again", []guestview.Card{card})
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad, "%v", f)
		require.Contains(t, bad.Problems[0].Field, "networks[0].forwards[0].")
	}
	spec.ID, spec.Config.Name = uuid.NewString(), "xml-taken"
	spec.Config.Networks = []vm.Network{{Forwards: []vm.Forward{{Guest: 80, Port: port}}}}
	_, err = b.Launch(lifeWithin(t), spec)
	require.ErrorContains(t, err, "networks[0].forwards[0].port")
}
