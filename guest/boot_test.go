//go:build linux

package guest

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/initramfs"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// requireKernel returns the host's kernel for guests, or skips.
func requireKernel(t *testing.T) kernel.Kernel {
	t.Helper()
	k, err := kernel.Find(t.Context(), kernel.Options{})
	if err != nil {
		testhost.Lacks(t, err)
	}
	return k
}

func TestDiskWithAnImageBootsByFirmware(t *testing.T) {
	t.Setenv(kernel.EnvKernel, "/none") // it must not be looked at
	b := NewBooter(BooterOptions{CacheDir: t.TempDir()})
	for _, disk := range []vm.Disk{{Path: "d.qcow2"}, {Base: "d.qcow2"}} {
		got, err := b.ResolveBoot(t.Context(), vm.Config{Disks: []vm.Disk{{}, disk}})
		require.NoError(t, err)
		require.Equal(t, vm.BootFiles{}, got)
		got, err = b.ResolveBoot(t.Context(), vm.Config{Disks: []vm.Disk{disk}, Boot: vm.Boot{Firmware: "/fw.bin"}})
		require.NoError(t, err)
		require.Equal(t, vm.BootFiles{Firmware: "/fw.bin"}, got)
	}
}

func TestKernelThatIsMissing(t *testing.T) {
	t.Setenv(kernel.EnvKernel, "/none")
	b := NewBooter(BooterOptions{CacheDir: t.TempDir()})
	_, err := b.ResolveBoot(t.Context(), vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "make setup")
	_, err = b.ResolveBoot(t.Context(), vm.Config{Boot: vm.Boot{Kernel: "/also-none"}})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestInitrdChoices(t *testing.T) {
	k := requireKernel(t)
	b := NewBooter(BooterOptions{CacheDir: t.TempDir()})
	own := filepath.Join(t.TempDir(), "initrd")
	require.NoError(t, os.WriteFile(own, []byte("x"), 0o600))
	image := []vm.Disk{{Path: "d.qcow2"}}
	for name, c := range map[string]struct {
		cfg    vm.Config
		initrd string
	}{
		"none":               {vm.Config{Boot: vm.Boot{Initrd: "none"}}, ""},
		"own":                {vm.Config{Boot: vm.Boot{Initrd: own}}, own},
		"kernel and disk":    {vm.Config{Boot: vm.Boot{Kernel: k.Path}, Disks: image}, ""},
		"root on the disk":   {vm.Config{Boot: vm.Boot{Kernel: "auto", Cmdline: "root=/dev/vda1"}, Disks: image}, ""},
		"own kernel, initrd": {vm.Config{Boot: vm.Boot{Kernel: k.Path, Initrd: own}, Disks: image}, own},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := b.ResolveBoot(t.Context(), c.cfg)
			require.NoError(t, err)
			require.Equal(t, c.initrd, got.Initrd)
			require.False(t, got.Default)
			require.NotEmpty(t, got.Kernel)
			require.NotContains(t, got.Cmdline, "quiet")
		})
	}
	// Without an initrd these would find no root.
	for _, boot := range []vm.Boot{{Kernel: "auto"}, {Kernel: "auto", Cmdline: "quiet"}, {Kernel: k.Path, Initrd: "auto"}, {Initrd: "auto"}} {
		got, err := b.ResolveBoot(t.Context(), vm.Config{Boot: boot, Disks: image})
		require.NoError(t, err)
		require.True(t, got.Default, boot)
	}
	_, err := b.ResolveBoot(t.Context(), vm.Config{Boot: vm.Boot{Initrd: own + "-none"}})
	var config *errors.ConfigError
	require.ErrorAs(t, err, &config)
	require.True(t, config.Has("boot.initrd"))
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
}

func TestBusyboxOfAnotherArchitecture(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	cache := t.TempDir()
	require.Equal(t, "none", foreignBusybox(cache, "riscv64"))
	for _, dir := range []string{filepath.Join(os.Getenv("XDG_CACHE_HOME"), "maqet"), cache} {
		path := filepath.Join(dir, "tools/busybox/riscv64/busybox")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o700))
		require.Equal(t, path, foreignBusybox(cache, "riscv64"), "one's own comes before the user's")
		require.Equal(t, "none", foreignBusybox(cache, "aarch64"))
	}
}

func TestFirmware(t *testing.T) {
	x86 := kernel.Kernel{Arch: "x86_64"}
	require.True(t, suitsQboot(vm.Config{}, x86))
	require.True(t, suitsQboot(vm.Config{Machine: "pc-q35-7.2"}, x86))
	require.False(t, suitsQboot(vm.Config{Machine: "microvm"}, x86))
	require.False(t, suitsQboot(vm.Config{Devices: []vm.Device{{Driver: "VGA"}}}, x86))
	require.False(t, suitsQboot(vm.Config{Args: []string{"-vga", "std"}}, x86))
	require.False(t, suitsQboot(vm.Config{Display: vm.Display{Type: vm.DisplayVNC}}, x86))
	require.False(t, suitsQboot(vm.Config{GenerationID: vm.GenerationIDAuto}, x86))
	require.True(t, suitsQboot(vm.Config{RNG: &vm.RNG{}, Tablet: true, PVPanic: true, Watchdog: &vm.Watchdog{},
		Display: vm.Display{Type: vm.DisplayVNC, Adapter: vm.AdapterNone}}, x86))
	require.False(t, suitsQboot(vm.Config{}, kernel.Kernel{Arch: "aarch64"}))
	require.Equal(t, "bios-256k.bin", namedFirmware("bios"))
	require.Equal(t, "qboot.rom", filepath.Base(namedFirmware("qboot")))
	require.Equal(t, "/own/fw.bin", namedFirmware("/own/fw.bin"))
	require.Empty(t, namedFirmware(""))
}

// A VGA adapter shows text only if a firmware runs its ROM and the kernel asks for it.
func TestScreenNeedsFirmwareAndBzImage(t *testing.T) {
	for driver, vga := range map[string]bool{
		"VGA": true, "cirrus-vga": true, "virtio-vga": true, "qxl-vga": true, "vmware-svga": true, "ati-vga": true, "isa-vga": true,
		"secondary-vga": false, "virtio-gpu-pci": false, "virtio-rng-pci": false, "ramfb": false,
	} {
		require.Equal(t, vga, hasVGA(vm.Config{Devices: []vm.Device{{Driver: "virtio-rng-pci"}, {Driver: driver}}}), driver)
	}
	for _, d := range []vm.Display{{Type: vm.DisplayVNC}, {Type: vm.DisplaySpice}, {Adapter: vm.AdapterVirtio}, {Adapter: vm.AdapterRAMFB}} {
		require.True(t, hasVGA(vm.Config{Display: d}), d)
		require.False(t, hasVGA(vm.Config{Machine: "microvm", Display: d}), d)
	}
	require.False(t, hasVGA(vm.Config{Display: vm.Display{Type: vm.DisplayVNC, Adapter: vm.AdapterNone}}))
	k := requireKernel(t)
	for _, cfg := range []vm.Config{
		{Boot: vm.Boot{Initrd: "none"}}, {Boot: vm.Boot{Initrd: "none"}, Devices: []vm.Device{{Driver: "VGA"}}},
	} {
		got, err := NewBooter(BooterOptions{}).ResolveBoot(t.Context(), cfg)
		require.NoError(t, err)
		require.Equal(t, hasVGA(cfg), got.Kernel == k.Path, got.Kernel)
		require.Empty(t, got.Firmware, "SeaBIOS")
	}
}

func TestCommandLine(t *testing.T) {
	b := &Booter{tscKHz: func() (int, bool) { return 2_000_000, true }}
	generated := b.cmdline(vm.Config{}, true)
	require.Equal(t, []string{
		"quiet", "net.ifnames=0", "init_on_alloc=0", "cryptomgr.notests", "random.trust_cpu=on", "noreplace-smp", "tsc_early_khz=2000000",
	}, generated)
	require.NotContains(t, b.cmdline(vm.Config{Accel: "kvm"}, true), "noreplace-smp")
	require.NotContains(t, b.cmdline(vm.Config{Accel: "kvm"}, true), "init_on_alloc=0")
	require.NotContains(t, b.cmdline(vm.Config{}, false), "init_on_alloc=0", "a kernel of the user's own stays as it is")
	require.NotContains(t, b.cmdline(vm.Config{Arch: "riscv64"}, true), "noreplace-smp")
	require.NotContains(t, b.cmdline(vm.Config{Accel: "kvm"}, true), "tsc_early_khz=2000000")
	require.NotContains(t, b.cmdline(vm.Config{Arch: "riscv64"}, true), "tsc_early_khz=2000000")

	for user, want := range map[string][]string{
		"":                                 generated,
		"panic=1":                          append(generated[:7:7], "panic=1"),
		"random.trust-cpu=off":             {"quiet", "net.ifnames=0", "init_on_alloc=0", "cryptomgr.notests", "noreplace-smp", "tsc_early_khz=2000000", "random.trust-cpu=off"},
		` "quiet"  x="a b" y=1 "z=c d" `:   {"net.ifnames=0", "init_on_alloc=0", "cryptomgr.notests", "random.trust_cpu=on", "noreplace-smp", "tsc_early_khz=2000000", `"quiet"`, `x="a b"`, "y=1", `"z=c d"`},
		"console=hvc0\tconsole=ttyS0\nabc": append(generated[:7:7], "console=hvc0", "console=ttyS0", "abc"),
	} {
		require.Equal(t, want, mergeCmdline(generated, splitCmdline(user)), "%q", user)
	}
}

// TestIntegrationDefaultGuestBoots starts plain QEMU with what the Booter chose, for
// each choice that a Config can make about processors and firmware.
func TestIntegrationDefaultGuestBoots(t *testing.T) {
	requireKernel(t)
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil || kernel.HostArch() != "x86_64" {
		testhost.Lacks(t, "qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
	}
	t.Setenv(initramfs.EnvInit, "")
	b := NewBooter(BooterOptions{})
	for name, c := range map[string]struct {
		firmware string
		args     []string
	}{
		"q35":         {"", []string{"-M", "q35", "-cpu", "max"}},
		"two CPUs":    {"", []string{"-M", "q35", "-smp", "2"}},
		"SeaBIOS":     {"bios", []string{"-M", "q35", "-cpu", "max", "-smp", "2"}},
		"qboot on pc": {"qboot", []string{"-M", "pc"}},
		"microvm":     {"qboot", []string{"-M", "microvm", "-cpu", "max"}},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := b.ResolveBoot(t.Context(), vm.Config{Boot: vm.Boot{Firmware: c.firmware}})
			require.NoError(t, err)
			require.True(t, files.Default)
			args := append([]string{
				"-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", "256", "-serial", "stdio",
				"-kernel", files.Kernel, "-initrd", files.Initrd,
				"-append", "console=ttyS0 " + strings.Join(files.Cmdline, " "),
			}, c.args...)
			if files.Firmware != "" {
				args = append(args, "-bios", files.Firmware)
			}
			require.True(t, bootsUntil(t, "maqet-init: ready", qemu, args...))
		})
	}
}

// bootsUntil runs QEMU until its console has the text.
func bootsUntil(t *testing.T, text, qemu string, args ...string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	found := false
	for lines := bufio.NewScanner(out); !found && lines.Scan(); {
		found = strings.Contains(lines.Text(), text)
		t.Log(lines.Text())
	}
	cancel()
	_ = cmd.Wait() // killed, as asked for
	return found
}
