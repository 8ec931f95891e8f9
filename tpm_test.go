package maqet_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// resets asks the guest's TPM how often it was reset since it was made: TPM2_ReadClock (TPM
// 2.0 library, part 3, 29.1), of whose answer resetCount is bytes 26 to 29.
func resets(t *testing.T, g *maqet.Machine) int {
	t.Helper()
	out, ok := sh(t, g, `exec 3<>/dev/tpm0 && printf '\200\001\000\000\000\012\000\000\001\201' >&3 && head -c 35 <&3 | od -An -v -tu1`)
	require.True(t, ok, out)
	answer := strings.Fields(out)
	require.Len(t, answer, 35, out)
	count := 0
	for _, b := range answer[26:30] {
		n, err := strconv.Atoi(b)
		require.NoError(t, err)
		count = count<<8 | n
	}
	return count
}

// TestTPM: the TPM of a persistent VM is the same one at its next start, and gone with it.
func TestTPM(t *testing.T) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		testhost.Lacks(t, "swtpm is missing: apt-get install swtpm")
	}
	dir := shortDir(t)
	m := open(t, dir)
	g, err := m.Run(t.Context(), vm.Config{TPM: &vm.TPM{}, Boot: vm.Boot{Kernel: fullKernel(t)}, Lifetime: vm.Persistent})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			require.NoError(t, m.VM.Remove(context.Background(), g.ID(), vm.ForceRemove()))
		}
	})
	requireHelpers(t, g, 1, true)
	out, ok := sh(t, g, "cat /sys/class/tpm/tpm0/tpm_version_major")
	require.True(t, ok, out)
	require.Equal(t, "2\n", out)
	first := resets(t, g)
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	requireHelpers(t, g, 1, false)
	require.NoError(t, g.Start(t.Context()))
	require.Equal(t, first+1, resets(t, g))
	stateDir := filepath.Join(dir, "state", g.ID())
	require.FileExists(t, filepath.Join(stateDir, "tpm", "tpm2-00.permall"))
	require.NoError(t, m.VM.Remove(t.Context(), g.ID(), vm.ForceRemove()))
	require.NoDirExists(t, stateDir)
}
