package guest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// saveState ends the guest and returns the file with its state.
func saveState(t *testing.T, v *fakeVM) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	c, err := qmp.Dial(soon(t), "unix", filepath.Join(v.dir, "qmp"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, qapi.Stop(soon(t), c))
	require.NoError(t, qapi.Migrate(soon(t), c, qapi.MigrateArgs{URI: "exec:cat >" + path}))
	require.Eventually(t, func() bool {
		info, err := qapi.QueryMigrate(soon(t), c)
		require.NoError(t, err)
		return info.Status == qapi.MigrationStatusCompleted
	}, time.Minute, 5*time.Millisecond)
	state, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = state.Close() })
	return state
}

// resumed starts another guest that continues from a state.
func resumed(t *testing.T, state *os.File, devices ...string) *fakeVM {
	t.Helper()
	_, err := state.Seek(0, 0)
	require.NoError(t, err)
	v := defaultGuest(t, state, devices...)
	c, err := qmp.Dial(soon(t), "unix", filepath.Join(v.dir, "qmp"))
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool {
		status, err := qapi.QueryStatus(soon(t), c)
		require.NoError(t, err)
		return status.Status != qapi.RunStateInmigrate
	}, time.Minute, 5*time.Millisecond)
	require.NoError(t, qapi.Cont(soon(t), c))
	return v
}

const (
	oldMAC = "52:54:00:00:00:01"
	newMAC = "52:54:00:00:00:02"
)

func cards(mac string) []string {
	return []string{"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,mac=" + mac}
}

// TestIntegrationContinued has two guests continue from one state.
func TestIntegrationContinued(t *testing.T) {
	template := bootDefaultGuest(t, cards(oldMAC)...)
	m := template.manager(t)
	_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sh", "-c", "echo kept >/tmp/kept"}})
	require.NoError(t, err)
	state := saveState(t, template)
	for range 4 {
		v := resumed(t, state, cards(newMAC)...)
		m := v.manager(t)
		begun := time.Now()
		require.NoError(t, m.Ping(soon(t), "box"))
		t.Logf("ping: %v", time.Since(begun))
		id := vm.Identity{Hostname: "other", MachineID: strings.Repeat("5a", 16), Cards: []vm.CardChange{{From: oldMAC, MAC: newMAC}}}
		for range 2 {
			begun = time.Now()
			require.NoError(t, m.Individualize(soon(t), "box", id))
			t.Logf("individualize: %v", time.Since(begun))
		}
		begun = time.Now()
		res, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sh", "-c", "hostname; cat /etc/machine-id /etc/hostname; ip addr; ip route; date; hwclock -u"}})
		require.NoError(t, err)
		t.Logf("exec: %v", time.Since(begun))
		t.Logf("%s", res.Stdout)
	}
}
