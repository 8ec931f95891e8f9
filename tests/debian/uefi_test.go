package debian_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
)

// TestUEFI boots the same image by UEFI, without a seed, and shuts it down as Stop does.
func TestUEFI(t *testing.T) {
	cfg := config(t)
	cfg.Name = "debian-uefi"
	cfg.Boot.Firmware = "uefi"
	m, g := guestOf(t, cfg)
	require.Contains(t, run(t, g, "ls", "/sys/firmware"), "efi")
	require.Equal(t, "disabled", run(t, g, "sh", "-c", "cloud-init status | sed 's/status: //'"), "without a seed it costs no time")
	require.NoError(t, m.Guest.Wait(t.Context(), g.ID(), guest.FileExists("/etc/ssh/ssh_host_ed25519_key.pub")))

	rep, err := g.Stop(t.Context())
	require.NoError(t, err)
	require.True(t, rep.Graceful, "%+v", rep)
	t.Logf("stopped by %s in %v", rep.Step, rep.Duration)
}
