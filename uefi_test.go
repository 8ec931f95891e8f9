package maqet_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// needFile skips the test when a file of a package is not there.
func needFile(t *testing.T, path, pkg string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		lacking(t, path, "apt-get install "+pkg)
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
