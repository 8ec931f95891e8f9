package guest_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// patience is how long a guest may take on a busy host.
const patience = 2 * time.Minute

// patiently is a context for what a guest that boots or continues does.
func patiently(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// saveState ends the guest and returns the file with its state.
func saveState(t *testing.T, v *fakeVM) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	c := monitorOf(t, v)
	require.NoError(t, qapi.Stop(patiently(t), c))
	require.NoError(t, qapi.Migrate(patiently(t), c, qapi.MigrateArgs{URI: "exec:cat >" + path}))
	require.Eventually(t, func() bool {
		info, err := qapi.QueryMigrate(patiently(t), c)
		require.NoError(t, err)
		return info.Status == qapi.MigrationStatusCompleted
	}, patience, 5*time.Millisecond)
	state, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = state.Close() })
	return state
}

func monitorOf(t *testing.T, v *fakeVM) *qmp.Client {
	t.Helper()
	c, err := qmp.Dial(patiently(t), "unix", filepath.Join(v.dir, "qmp"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// resumed starts another guest that continues from a state.
func resumed(t *testing.T, state *os.File, devices ...string) *fakeVM {
	t.Helper()
	_, err := state.Seek(0, 0)
	require.NoError(t, err)
	v := defaultGuest(t, state, devices...)
	c := monitorOf(t, v)
	require.Eventually(t, func() bool {
		status, err := qapi.QueryStatus(patiently(t), c)
		require.NoError(t, err)
		return status.Status != qapi.RunStateInmigrate
	}, patience, 5*time.Millisecond)
	require.NoError(t, qapi.Cont(patiently(t), c))
	return v
}

// byAgent is a manager of the guest that goes the agent's way only.
func byAgent(t *testing.T, v *fakeVM) *guest.Manager {
	t.Helper()
	only := newFakeVM(t)
	only.channel(vm.ChannelAgent, v.channels[vm.ChannelAgent])
	return only.manager(t)
}

const (
	oldMAC = "52:54:00:00:00:01"
	newMAC = "52:54:00:00:00:02"
)

// userCard is a card on QEMU's user network.
func userCard(mac string) []string {
	return []string{"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,mac=" + mac}
}

// TestIntegrationIndividualize has guests continue from one state, and makes them different.
func TestIntegrationIndividualize(t *testing.T) {
	template := bootDefaultGuest(t, userCard(oldMAC)...)
	m := template.manager(t)
	require.NoError(t, m.Wait(patiently(t), "box", guest.CommandSucceeds("sh", "-c", "ip addr show dev eth0 | grep -q fe80::5054:ff:fe00:1/")))
	// Until its next reseed, which is some seconds away now, the random generator draws from
	// this alone.
	require.NoError(t, m.Reseed(patiently(t), "box"))
	state := saveState(t, template) // with a session open
	id := vm.Identity{Hostname: "other", MachineID: strings.Repeat("5a", 16), Cards: []vm.CardChange{{From: oldMAC, MAC: newMAC}}}

	t.Run("alike", func(t *testing.T) {
		// Unless the guest happened to do something else first.
		drawn := []string{draw(t, byAgent(t, resumed(t, state, userCard(oldMAC)...)))}
		for range 8 {
			next := draw(t, byAgent(t, resumed(t, state, userCard(oldMAC)...)))
			if slices.Contains(drawn, next) {
				return
			}
			drawn = append(drawn, next)
		}
		require.Fail(t, "guests that continue from one state should draw the same", "%q", drawn)
	})
	t.Run("by init", func(t *testing.T) {
		v := resumed(t, state, userCard(newMAC)...)
		m := v.manager(t)
		begun := time.Now()
		require.NoError(t, m.Ping(patiently(t), "box"))
		t.Logf("session with a guest that has just continued: %v", time.Since(begun))
		checkIndividualized(t, m, id)
		checkNetwork(t, m)
		checkRefusals(t, m)
	})
	t.Run("new address", func(t *testing.T) { checkNewAddress(t, resumed(t, state, userCard(newMAC)...).manager(t)) })
	t.Run("by the agent", func(t *testing.T) {
		var drawn []string
		for range 2 {
			v := resumed(t, state, userCard(newMAC)...)
			m := byAgent(t, v)
			checkIndividualized(t, m, id)
			drawn = append(drawn, draw(t, m))
			require.NoError(t, m.Wait(patiently(t), "box", guest.CommandSucceeds("sh", "-c", "! ls -d /*/maqet.*")), "the program is removed")
			checkRefusals(t, m)
		}
		require.NotEqual(t, drawn[0], drawn[1])
	})
}

// draw returns the first bytes from the guest's random generator.
func draw(t *testing.T, m *guest.Manager) string {
	t.Helper()
	res, err := m.Exec(patiently(t), "box", guest.Command{Args: []string{"head", "-c", "16", "/dev/urandom"}})
	require.NoError(t, err)
	require.Len(t, res.Stdout, 16)
	return string(res.Stdout)
}

// checkIndividualized makes the guest somebody of its own twice, which it can bear.
func checkIndividualized(t *testing.T, m *guest.Manager, id vm.Identity) {
	for range 2 {
		require.NoError(t, m.SetTime(patiently(t), "box", time.Now().Add(-time.Hour)))
		begun := time.Now()
		require.NoError(t, m.Individualize(patiently(t), "box", id))
		t.Logf("individualized in %v", time.Since(begun))
	}
	res, err := m.Exec(patiently(t), "box", guest.Command{Args: []string{"sh", "-c",
		"hostname; cat /etc/hostname /etc/machine-id /sys/class/net/eth0/address; date +%s"}})
	require.NoError(t, err)
	said := strings.Fields(string(res.Stdout))
	require.Len(t, said, 5)
	require.Equal(t, []string{id.Hostname, id.Hostname, id.MachineID, newMAC}, said[:4])
	seconds, err := strconv.ParseInt(said[4], 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), time.Unix(seconds, 0), patience)
}

// checkNetwork has the guest reach this host by its only gateway.
func checkNetwork(t *testing.T, m *guest.Manager) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	accepted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = conn.Write([]byte("reached\n"))
			err = errors.Join(err, conn.Close())
		}
		accepted <- err
	}()
	port := l.Addr().(*net.TCPAddr).Port
	res, err := m.Exec(patiently(t), "box", guest.Command{Args: []string{"nc", "10.0.2.2", strconv.Itoa(port)}, Stdin: new(bytes.Buffer)})
	require.NoError(t, err)
	require.Equal(t, "reached\n", string(res.Stdout))
	require.NoError(t, <-accepted)
}

// checkNewAddress gives the card another IPv4 address as well: the one of IPv6 that follows from
// its MAC changes with it, and the way out stays.
func checkNewAddress(t *testing.T, m *guest.Manager) {
	require.NoError(t, m.Individualize(patiently(t), "box", vm.Identity{
		Cards: []vm.CardChange{{From: oldMAC, MAC: newMAC, Address: "10.0.2.77/24"}}}))
	res, err := m.Exec(patiently(t), "box", guest.Command{Args: []string{"sh", "-c", "ip addr show dev eth0; ip route"}})
	require.NoError(t, err)
	said := string(res.Stdout)
	for _, want := range []string{"link/ether " + newMAC, "inet 10.0.2.77/24 ", "inet6 fe80::5054:ff:fe00:2/64 ", "default via 10.0.2.2 dev eth0"} {
		require.Contains(t, said, want)
	}
	require.NotContains(t, said, "10.0.2.15")
	require.NotContains(t, said, "fe80::5054:ff:fe00:1/")
	checkNetwork(t, m)
}

// checkRefusals: a part that fails is named, and keeps nothing from the rest.
func checkRefusals(t *testing.T, m *guest.Manager) {
	err := m.Individualize(patiently(t), "box", vm.Identity{Hostname: "third",
		Cards: []vm.CardChange{{From: "52:54:00:00:00:77", MAC: oldMAC}}})
	require.ErrorIs(t, err, errors.ErrGuest)
	require.ErrorContains(t, err, "change the network card 52:54:00:00:00:77")
	require.NotContains(t, err.Error(), "host name")
	res, err := m.Exec(patiently(t), "box", guest.Command{Args: []string{"hostname"}})
	require.NoError(t, err)
	require.Equal(t, "third\n", string(res.Stdout))
}
