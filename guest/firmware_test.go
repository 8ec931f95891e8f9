//go:build linux

package guest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// firmwareBooter has one descriptor, of a UEFI for q35 and virt with these features.
func firmwareBooter(t *testing.T, features string) (b *Booter, dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"code", "vars"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.json"), []byte(`{"interface-types": ["uefi"], "mapping": {"device": "flash",
		"executable": {"filename": "`+dir+`/code", "format": "raw"}, "nvram-template": {"filename": "`+dir+`/vars", "format": "raw"}},
		"targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}, {"architecture": "aarch64", "machines": ["virt-*"]},
		{"architecture": "riscv64", "machines": ["virt"]}], "features": [`+features+`]}`), 0o600))
	b = NewBooter(BooterOptions{CacheDir: t.TempDir()})
	b.descriptors = []string{dir}
	return b, dir
}

// fromDisk is a guest that boots from a disk, for which no kernel is needed.
func fromDisk(cfg vm.Config) vm.Config {
	cfg.Disks = []vm.Disk{{Path: "d.qcow2"}}
	return cfg
}

func TestUEFIIsChosen(t *testing.T) {
	b, dir := firmwareBooter(t, "")
	want := vm.UEFI{Code: dir + "/code", CodeFormat: "raw", NVRAM: dir + "/vars", NVRAMFormat: "raw"}
	for name, cfg := range map[string]vm.Config{
		"asked for":     {Arch: "x86_64", Boot: vm.Boot{Firmware: vm.FirmwareUEFI}},
		"by its alias":  {Arch: "x86_64", Machine: "q35", Boot: vm.Boot{Firmware: vm.FirmwareUEFI}},
		"by a version":  {Arch: "x86_64", Machine: "pc-q35-7.2", Boot: vm.Boot{Firmware: vm.FirmwareUEFI}},
		"the only one":  {Arch: "aarch64"},
		"and on RISC-V": {Arch: "riscv64"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := b.ResolveBoot(t.Context(), fromDisk(cfg))
			require.NoError(t, err)
			require.Equal(t, vm.BootFiles{UEFI: &want}, got)
		})
	}
	got, err := b.ResolveBoot(t.Context(), fromDisk(vm.Config{Arch: "x86_64"}))
	require.NoError(t, err)
	require.Nil(t, got.UEFI, "a PC has SeaBIOS")
	got, err = b.ResolveBoot(t.Context(), fromDisk(vm.Config{Arch: "aarch64", Boot: vm.Boot{Firmware: "/own.fd"}}))
	require.NoError(t, err)
	require.Equal(t, vm.BootFiles{Firmware: "/own.fd"}, got)
}

func TestOwnVariables(t *testing.T) {
	b, dir := firmwareBooter(t, "")
	own := filepath.Join(dir, "own")
	require.NoError(t, os.WriteFile(own, []byte("mine"), 0o600))
	cfg := fromDisk(vm.Config{Arch: "x86_64", Boot: vm.Boot{Firmware: vm.FirmwareUEFI, NVRAM: own}})
	got, err := b.ResolveBoot(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, own, got.UEFI.NVRAM)
	require.NoError(t, os.WriteFile(own, []byte("too long"), 0o600))
	for path, says := range map[string]string{own: "8 bytes", dir: "not a regular file", "/none": "no such file"} {
		cfg.Boot.NVRAM = path
		_, err := b.ResolveBoot(t.Context(), cfg)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad)
		require.True(t, bad.Has("boot.nvram"), err)
		require.ErrorContains(t, err, says)
	}
}

// TestNoUEFI: the error says what to install.
func TestNoUEFI(t *testing.T) {
	b, _ := firmwareBooter(t, "")
	for name, c := range map[string]struct {
		cfg   vm.Config
		field string
		says  string
	}{
		"microvm":     {vm.Config{Arch: "x86_64", Machine: "microvm", Boot: vm.Boot{Firmware: vm.FirmwareUEFI}}, "boot.firmware", "package ovmf"},
		"secure boot": {vm.Config{Arch: "aarch64", Boot: vm.Boot{Firmware: vm.FirmwareUEFI, SecureBoot: true}}, "boot.secure_boot", "qemu-efi-aarch64"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.ResolveBoot(t.Context(), fromDisk(c.cfg))
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.True(t, bad.Has(c.field), err)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// TestUEFIStartsABzImage: it knows nothing of the entry that QEMU starts vmlinux by, and
// takes the place of qboot.
func TestUEFIStartsABzImage(t *testing.T) {
	k := requireKernel(t)
	b, _ := firmwareBooter(t, `"requires-smm", "secure-boot", "enrolled-keys"`)
	b.cacheDir = "" // the usual one, so that nothing is built anew
	got, err := b.ResolveBoot(t.Context(), vm.Config{Boot: vm.Boot{Firmware: vm.FirmwareUEFI, SecureBoot: true}})
	require.NoError(t, err)
	require.Equal(t, k.Path, got.Kernel)
	require.True(t, got.Default)
	require.Empty(t, got.Firmware)
	require.True(t, got.UEFI.SMM)
}
