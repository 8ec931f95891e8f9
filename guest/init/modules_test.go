package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMatchAlias(t *testing.T) {
	const blk = "virtio:d00000002v00001AF4"
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"virtio:d00000002v*", blk, true},
		{"virtio:d00000001v*", blk, false},
		{"virtio:d0000000[1-3]v*", blk, true},
		{"virtio:d0000000[!2]v*", blk, false},
		{"virtio:d0000000?v*", blk, true},
		{"*", "", true},
		{"", "", true},
		{"", "x", false},
		{"?", "", false},
		{"a*b*c", "a/x/b/y/c", true},
		{"a*b*c", "a/x/c", false},
		{"[", "[", false},
		{"[a", "a", false},
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00", true},
		{"acpi*:PNP0C0C:*", "acpi:PNP0C0C:", true},
	} {
		require.Equal(t, c.want, matchAlias(c.pattern, c.s), "%q %q", c.pattern, c.s)
	}
}

func TestModulesLoadInOrderAndOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "modules.required"), "/m/ring.ko\n/m/pci.ko\n\n/m/broken.ko\n")
	write(t, filepath.Join(dir, "modules.alias"), "# comment\nvirtio:d1v* /m/net.ko /m/ring.ko /m/failover.ko\nbad\n")
	var loaded []string
	m := newModules(dir)
	m.insert = func(path string) error {
		loaded = append(loaded, path)
		if path == "/m/broken.ko" {
			return syscall.ENOENT
		}
		return nil
	}
	m.loadRequired()
	require.Equal(t, []string{"/m/ring.ko", "/m/pci.ko", "/m/broken.ko"}, loaded)
	text, err := os.ReadFile(filepath.Join(dir, "modules.alias"))
	require.NoError(t, err)
	m.rules = parseAliases(string(text))
	require.True(t, m.loadAlias("virtio:d1v2"))
	require.False(t, m.loadAlias("virtio:d1v2"))
	require.False(t, m.loadAlias("virtio:d1v3"))
	require.False(t, m.loadAlias("virtio:d2v2"))
	require.Equal(t, []string{"/m/failover.ko", "/m/net.ko"}, loaded[3:])
}

func TestModulesWithoutLists(t *testing.T) {
	m := newModules(t.TempDir())
	m.insert = func(path string) error { t.Error(path); return nil }
	m.loadRequired()
	m.readRules()
	m.loadForDevices(t.TempDir(), []string{"pci"})
}

// TestLoadForDevices: the buses that guests start with come first, and each alias that
// a driver makes appear is dealt with.
func TestLoadForDevices(t *testing.T) {
	sys := t.TempDir()
	write(t, filepath.Join(sys, "bus/acpi/devices/LNXPWRBN:00/modalias"), "acpi:LNXPWRBN:\n")
	write(t, filepath.Join(sys, "bus/cpu/devices/cpu0/other"), "x")
	require.ElementsMatch(t, []string{"acpi", "cpu"}, firstBuses(sys), "no PCI")
	write(t, filepath.Join(sys, "bus/pci/devices/0000:00:01.0/modalias"), "pci:v1\n")
	require.Equal(t, []string{"pci", "virtio"}, firstBuses(sys))
	require.ElementsMatch(t, []string{"acpi", "cpu", "pci"}, allBuses(sys))

	var loaded []string
	m := newModules(t.TempDir())
	m.rules = parseAliases("pci:v1 /m/pci.ko\nvirtio:d2* /m/blk.ko\nacpi:LNXPWRBN:* /m/button.ko\n")
	m.insert = func(path string) error {
		loaded = append(loaded, path)
		if path == "/m/pci.ko" {
			write(t, filepath.Join(sys, "bus/virtio/devices/virtio0/modalias"), "virtio:d2v1\n")
		}
		return nil
	}
	m.loadForDevices(sys, firstBuses(sys))
	require.Equal(t, []string{"/m/pci.ko", "/m/blk.ko"}, loaded)
	m.loadForDevices(sys, allBuses(sys))
	require.Equal(t, "/m/button.ko", loaded[2])
}

func TestParseUevent(t *testing.T) {
	e := parseUevent([]byte("add@/devices/x\x00ACTION=add\x00DEVPATH=/devices/x\x00SUBSYSTEM=virtio\x00MODALIAS=virtio:d1v2\x00SEQNUM=7\x00"))
	require.Equal(t, uevent{action: "add", path: "/devices/x", subsystem: "virtio", modalias: "virtio:d1v2"}, e)
	require.Equal(t, uevent{}, parseUevent([]byte("libudev")))
}
