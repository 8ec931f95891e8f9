package maqet_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().(*net.TCPAddr).Port
}

// TestUserNetworks: a guest whose cards end in this host.
func TestUserNetworks(t *testing.T) {
	_, err := exec.LookPath("passt")
	testhost.Needs(t, "passt", err)
	dir := shortDir(t)
	m := open(t, dir)
	passtPort := freePort(t)
	g, err := m.Run(t.Context(), vm.Config{Name: "web", Networks: []vm.Network{
		{Forwards: []vm.Forward{{Guest: 80}}},
		{Type: vm.NetworkPasst, Subnet: "10.5.5.0/24", Forwards: []vm.Forward{{Port: passtPort, Guest: 80}}},
		{Subnet: "10.9.0.0/16", Restrict: true, LinkDown: true},
	}})
	require.NoError(t, err)
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	require.Len(t, inst.Runtime.Helpers, 1)
	_, err = g.Exec(t.Context(), "sh", "-c", "mkdir /tmp/www && echo hello > /tmp/www/index.html && httpd -p 80 -h /tmp/www")
	require.NoError(t, err)
	for i, want := range []string{"10.0.2.15", "10.5.5.15", "10.9.0.15"} {
		require.Equal(t, want, addressOf(t, g, fmt.Sprintf("eth%d", i)).String())
	}

	t.Run("into the guest", func(t *testing.T) {
		chosen := inst.Runtime.Forwards["net0"][0].Port
		require.Positive(t, chosen)
		for name, port := range map[string]int{"user": chosen, "passt": passtPort} {
			got, err := get(t.Context(), http.DefaultClient, "http://127.0.0.1:"+strconv.Itoa(port)+"/")
			require.NoError(t, err, name)
			require.Equal(t, "hello\n", got)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	t.Run("out of the guest", func(t *testing.T) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		go answerAll(l)
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		res, err := g.Exec(t.Context(), "timeout", "30", "nc", "10.0.2.2", port)
		require.NoError(t, err)
		require.Equal(t, "the host", string(res.Stdout))
		require.NoError(t, g.SetLink(t.Context(), "net2", true))
		_, err = g.Exec(t.Context(), "timeout", "2", "nc", "10.9.0.2", port)
		require.Error(t, err, "it is restricted")
	})
	t.Run("dial without a channel of init's", func(t *testing.T) { dialByForward(t, dir, g) })
}

func answerAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "the host")
		_ = conn.Close()
	}
}

// dialByForward is what other processes do when two have the init's channels, and all do
// with guests that have another init.
func dialByForward(t *testing.T, dir string, g *maqet.Machine) {
	_, err := g.Exec(t.Context(), "sh", "-c", "httpd -p 8081 -h /tmp/www")
	require.NoError(t, err)
	var last *maqet.Machine
	for range 2 {
		last, err = open(t, dir).Machine(t.Context(), g.ID())
		require.NoError(t, err)
		_, err = last.Exec(t.Context(), "true")
		require.NoError(t, err)
	}
	for _, port := range []string{"80", "8081"} { // one that is forwarded, one that is not
		got, err := get(t.Context(), client(last), "http://localhost:"+port+"/")
		require.NoError(t, err)
		require.Equal(t, "hello\n", got)
	}
	conn, err := last.Dial(t.Context(), "tcp", ":8081")
	require.NoError(t, err)
	forwarded := conn.RemoteAddr().String()
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool {
		still, err := net.Dial("tcp4", forwarded)
		if err == nil {
			_ = still.Close()
		}
		return errors.Is(err, unix.ECONNREFUSED)
	}, 30*time.Second, 20*time.Millisecond, "the forward goes soon after the connection")
	_, err = last.Dial(t.Context(), "tcp", "10.0.2.2:80")
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
}

// TestTapAndBridge: the test's thread has a network of its own, where it may do what it
// likes. QEMU need not be there: it inherits the devices.
func TestTapAndBridge(t *testing.T) {
	if os.Getuid() != 0 {
		testhost.Lacks(t, "making networks needs root")
	}
	_, err := exec.LookPath("ip")
	testhost.Needs(t, "the program ip (package iproute2)", err)
	dir := shortDir(t)
	m := open(t, dir)
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	testhost.Needs(t, "a network namespace", unix.Unshare(unix.CLONE_NEWNET))
	testhost.Needs(t, "a tap device", ip("tuntap add mode tap name maqettap"))
	for _, line := range []string{
		"addr add 10.50.0.1/24 dev maqettap", "link set maqettap up",
		"link add maqetbr type bridge", "addr add 10.51.0.1/24 dev maqetbr", "link set maqetbr up",
	} {
		require.NoError(t, ip(line))
	}
	tap := vm.Network{Type: vm.NetworkTap, Interface: "maqettap", Address: "10.50.0.2/24"}
	bridge := vm.Network{Type: vm.NetworkBridge, Interface: "maqetbr", Address: "10.51.0.2/24"}
	g, err := m.Run(t.Context(), vm.Config{Networks: []vm.Network{tap, bridge}})
	require.NoError(t, err)
	for _, host := range []string{"10.50.0.1", "10.51.0.1"} {
		_, err := g.Exec(t.Context(), "ping", "-c", "1", "-W", "30", host)
		require.NoError(t, err, host)
	}
	for name, c := range map[string]struct {
		network vm.Network
		message string
	}{
		"in use":                 {tap, "busy"},
		"no bridge":              {vm.Network{Type: vm.NetworkBridge, Interface: "maqettap"}, "not supported"},
		"no tap":                 {vm.Network{Type: vm.NetworkTap, Interface: "maqetbr"}, "invalid argument"},
		"what does not exist":    {vm.Network{Type: vm.NetworkTap, Interface: "none0"}, "does not exist"},
		"no bridge of that name": {vm.Network{Type: vm.NetworkBridge, Interface: "none0"}, "does not exist"},
	} {
		// Not as a subtest: that would be another thread.
		_, err := m.Run(t.Context(), vm.Config{Networks: []vm.Network{{}, c.network}})
		var ce *errors.ConfigError
		require.ErrorAs(t, err, &ce, name)
		require.True(t, ce.Has("networks[1].interface"), "%s: %v", name, ce)
		require.ErrorContains(t, err, c.message, name)
	}
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	out, err := exec.Command("ip", "link", "show", "master", "maqetbr").Output()
	require.NoError(t, err)
	require.Empty(t, strings.TrimSpace(string(out)), "the bridge's tap device went with QEMU")
}

func ip(line string) error {
	out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", line, err, out)
	}
	return nil
}
