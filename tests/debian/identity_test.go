package debian_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// individualize makes a guest with systemd and qemu-ga somebody of its own.
func individualize(t *testing.T, m *maqet.Maqet, g *maqet.Machine) {
	ctx := t.Context()
	old := run(t, g, "cat", "/sys/class/net/eth0/address")
	id := vm.Identity{Hostname: "fork-1", MachineID: strings.Repeat("5a", 16),
		Cards: []vm.CardChange{{From: old, MAC: "52:54:00:aa:bb:cc", Renew: true}}}
	require.NoError(t, m.Guest.SetTime(ctx, g.ID(), time.Now().Add(-time.Hour)))
	begun := time.Now()
	require.NoError(t, m.Guest.Individualize(ctx, g.ID(), id))
	t.Logf("took %v", time.Since(begun).Round(time.Millisecond))
	seconds, err := strconv.ParseInt(run(t, g, "date", "+%s"), 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), time.Unix(seconds, 0), 5*time.Minute)
	require.Equal(t, "fork-1", run(t, g, "hostname"))
	require.Equal(t, "fork-1", run(t, g, "cat", "/etc/hostname"))
	require.Equal(t, id.MachineID, run(t, g, "cat", "/etc/machine-id"))
	require.Equal(t, "52:54:00:aa:bb:cc", run(t, g, "cat", "/sys/class/net/eth0/address"))
	require.Empty(t, run(t, g, "sh", "-c", "ls -d /dev/shm/maqet.* /run/maqet.* /tmp/maqet.* /var/tmp/maqet.* 2>/dev/null || true"))

	err = m.Guest.Individualize(ctx, g.ID(), vm.Identity{Cards: []vm.CardChange{{From: "52:54:00:00:00:77", MAC: old}}})
	require.ErrorIs(t, err, errors.ErrGuest)
	require.ErrorContains(t, err, "52:54:00:00:00:77")
}
