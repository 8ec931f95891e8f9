package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/maqet/maqet/guest/wire"
	"github.com/stretchr/testify/require"
)

func TestFailuresNameAllParts(t *testing.T) {
	var bad failures
	require.NoError(t, bad.err())
	bad.add("well", nil)
	require.NoError(t, bad.err())
	bad.add("one", os.NewSyscallError("settimeofday", syscall.EPERM))
	bad.add("two", syscall.EBUSY)
	err := bad.err()
	require.ErrorIs(t, err, syscall.EPERM, "the first one's number")
	require.Equal(t, "guest: individualize: one: settimeofday: operation not permitted; two: device or resource busy", err.Error())
}

func TestWriteIfPossible(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hostname")
	require.NoError(t, writeIfPossible(path, "a long one\n"))
	require.NoError(t, writeIfPossible(path, "other\n"))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "other\n", string(text))
	require.NoError(t, writeIfPossible(filepath.Join(dir, "no", "folder"), "x"))
	require.NoError(t, writeIfPossible("/proc/sys/none", "x"), "where no files can be made")
	require.ErrorIs(t, writeIfPossible(dir, "x"), syscall.EISDIR)
}

func TestIndividualizeAloneRefusesWhatIsNoIdentity(t *testing.T) {
	require.Equal(t, 1, individualizeAlone(strings.NewReader("\xff")))
}

// TestIndividualizeOfNoCard: no card is looked at that is not named.
func TestIndividualizeOfNoCard(t *testing.T) {
	missing := [6]byte{2, 0, 0, 0, 0, 9}
	err := individualize(wire.Identity{Cards: []wire.Card{{From: missing, MAC: missing}}})
	require.ErrorIs(t, err, syscall.ENODEV)
	require.ErrorContains(t, err, "change the network card 02:00:00:00:00:09")
	require.NoError(t, individualize(wire.Identity{}))
}

func TestFindCardPrefersTheOldAddress(t *testing.T) {
	a, b, c := [6]byte{1}, [6]byte{2}, [6]byte{3}
	cards := []etherCard{{name: "second", mac: b}, {name: "first", mac: a}}
	require.Equal(t, "first", findCard(cards, wire.Card{From: a, MAC: b}).name, "the second's address is to be the first's")
	require.Equal(t, "second", findCard(cards, wire.Card{From: c, MAC: b}).name, "it has been changed already")
	require.Nil(t, findCard(cards, wire.Card{From: c, MAC: c}))
}

func TestLinkLocal(t *testing.T) {
	require.Equal(t, "fe80::5054:ff:fe12:3456", netip.AddrFrom16(linkLocal([6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56})).String())
	require.Equal(t, "52:54:00:12:34:56", macText([6]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}))
}

func TestParseRoutes(t *testing.T) {
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0202000A	0003	0	0	100	00000000	0	0	0
eth1	0000010A	00000000	0001	0	0	0	0000FFFF	0	0	0
eth0	0002000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	short
`
	require.Equal(t, []route{
		{gateway: [4]byte{10, 0, 2, 2}, flags: syscall.RTF_UP | syscall.RTF_GATEWAY, metric: 100},
		{destination: [4]byte{10, 0, 2, 0}, mask: [4]byte{255, 255, 255, 0}, flags: syscall.RTF_UP},
	}, parseRoutes(table, "eth0"))
	require.Empty(t, parseRoutes("", "eth0"))
}

func TestPlansFollowTheirCards(t *testing.T) {
	n := newNetworks("/nowhere", "02:00:00:00:00:01,10.1.0.1/16;02:00:00:00:00:02,10.2.0.1/16,10.2.0.2,10.2.0.3")
	n.moved([]wire.Card{
		{From: [6]byte{2, 0, 0, 0, 0, 1}, MAC: [6]byte{2, 0, 0, 0, 0, 7}, Address: netip.MustParsePrefix("10.1.0.9/16")},
		{From: [6]byte{2, 0, 0, 0, 0, 2}, MAC: [6]byte{2, 0, 0, 0, 0, 8}},
		{From: [6]byte{2, 0, 0, 0, 0, 3}, MAC: [6]byte{2, 0, 0, 0, 0, 9}},
	})
	require.Equal(t, map[string]cardPlan{
		"02:00:00:00:00:07": {address: netip.MustParsePrefix("10.1.0.9/16")},
		"02:00:00:00:00:08": {address: netip.MustParsePrefix("10.2.0.1/16"), gateway: netip.MustParseAddr("10.2.0.2"), server: netip.MustParseAddr("10.2.0.3")},
	}, n.plans)
}
