package maqet_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// needFile skips the test when a file of a package is not there.
func needFile(t *testing.T, path, pkg string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		testhost.Lacks(t, path, "is missing: apt-get install", pkg)
	}
}

const (
	efiGlobal = "8be4df61-93ca-11d2-aa0d-00e098032b8c" // EFI_GLOBAL_VARIABLE
	ownVar    = "/sys/firmware/efi/efivars/MaqetTest-12345678-1234-4123-8123-123456789abc"
)

// secureBoot reads the guest's variable: "0" or "1". Four bytes of attributes come first.
func secureBoot(t *testing.T, g *maqet.Machine) string {
	t.Helper()
	out, ok := sh(t, g, "tail -c 1 /sys/firmware/efi/efivars/SecureBoot-"+efiGlobal+" | od -An -tu1 | tr -d ' \\n'")
	require.True(t, ok, out)
	return out
}

// TestUEFI: what the guest writes to the variables of a persistent VM is there at its next
// start, and nothing is left when the VM is removed.
func TestUEFI(t *testing.T) {
	needFile(t, "/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf")
	dir := shortDir(t)
	m := open(t, dir)
	g, err := m.Run(t.Context(), vm.Config{Boot: vm.Boot{Firmware: vm.FirmwareUEFI}, Lifetime: vm.Persistent})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			require.NoError(t, m.VM.Remove(context.Background(), g.ID(), vm.ForceRemove()))
		}
	})
	require.Equal(t, "0", secureBoot(t, g))
	out, ok := sh(t, g, "test -d /sys/firmware/efi && ! test -e "+ownVar+` && printf '\007\000\000\000kept' > `+ownVar)
	require.True(t, ok, out)
	stateDir := filepath.Join(dir, "state", g.ID())
	files, err := filepath.Glob(stateDir + "/nvram-*.fd")
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := os.Stat(files[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	require.NoError(t, g.Start(t.Context()))
	require.Equal(t, "0", secureBoot(t, g))
	out, ok = sh(t, g, "tail -c 4 "+ownVar)
	require.True(t, ok, out)
	require.Equal(t, "kept", out)
	require.NoError(t, m.VM.Remove(t.Context(), g.ID(), vm.ForceRemove()))
	require.NoDirExists(t, stateDir)
}

// TestSecureBoot: the firmware enforces signatures, and an ephemeral VM keeps no variables.
func TestSecureBoot(t *testing.T) {
	needFile(t, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "ovmf")
	dir := shortDir(t)
	m := open(t, dir)
	g, err := m.Run(t.Context(), vm.Config{Boot: vm.Boot{Firmware: vm.FirmwareUEFI, SecureBoot: true}})
	require.NoError(t, err)
	require.Equal(t, "1", secureBoot(t, g))
	stateDir := filepath.Join(dir, "state", g.ID())
	require.DirExists(t, stateDir)
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	require.NoDirExists(t, stateDir)
}

// bootDisk makes a disk that a UEFI starts the kernel from, with one byte of it changed, so
// that no signature of it is valid.
func bootDisk(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("mformat"); err != nil {
		testhost.Lacks(t, "mtools is missing: apt-get install mtools")
	}
	k, err := kernel.Find(t.Context(), kernel.Options{})
	require.NoError(t, err)
	image, err := os.ReadFile(k.Path)
	require.NoError(t, err)
	image[0x1f2] ^= 2 // root_flags of the Linux/x86 boot protocol, which nobody reads
	dir := t.TempDir()
	loader, disk := filepath.Join(dir, "BOOTX64.EFI"), filepath.Join(dir, "esp.img")
	require.NoError(t, os.WriteFile(loader, image, 0o600))
	for _, args := range [][]string{
		{"mformat", "-i", disk, "-C", "-T", "65536", "::"}, {"mmd", "-i", disk, "::/EFI", "::/EFI/BOOT"}, {"mcopy", "-i", disk, loader, "::/EFI/BOOT/"},
	} {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "%s: %s", args, out)
	}
	return disk
}

// TestSecureBootRefuses: the same disk starts without secure boot, and not with it.
func TestSecureBootRefuses(t *testing.T) {
	needFile(t, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "ovmf")
	disk := bootDisk(t)
	m := open(t, shortDir(t))
	for secure, says := range map[bool]string{false: "BdsDxe: starting Boot", true: "Access Denied"} {
		cfg := vm.Config{Boot: vm.Boot{Firmware: vm.FirmwareUEFI, SecureBoot: secure}, Disks: []vm.Disk{{Base: disk}}, Agent: vm.Agent{Disabled: true}}
		inst, err := m.VM.Add(t.Context(), cfg)
		require.NoError(t, err)
		_, err = m.VM.Start(t.Context(), inst.ID, vm.WaitFor(m.Guest.Until(guest.ConsoleText(says))))
		require.NoError(t, err, "secure boot: %t", secure)
		_, err = m.VM.Stop(t.Context(), inst.ID, vm.Force())
		require.NoError(t, err)
	}
}

// TestUEFIOnARM: the firmware of another architecture starts, from flash memory of 64 MiB.
func TestUEFIOnARM(t *testing.T) {
	needFile(t, "/usr/share/AAVMF/AAVMF_CODE.fd", "qemu-efi-aarch64")
	if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
		testhost.Lacks(t, "qemu-system-aarch64 is missing: apt-get install qemu-system-arm")
	}
	disk := filepath.Join(t.TempDir(), "empty.img")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
	m := open(t, shortDir(t))
	inst, err := m.VM.Add(t.Context(), vm.Config{Arch: "aarch64", Agent: vm.Agent{Disabled: true}, Disks: []vm.Disk{{Path: disk}}})
	require.NoError(t, err)
	_, err = m.VM.Start(t.Context(), inst.ID, vm.WaitFor(m.Guest.Until(guest.ConsoleText("UEFI firmware"))))
	require.NoError(t, err)
	_, err = m.VM.Stop(t.Context(), inst.ID, vm.Force())
	require.NoError(t, err)
}
