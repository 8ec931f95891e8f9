package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeCard makes a card as sysfs shows it.
func fakeCard(t *testing.T, sys, name, mac string, up bool) {
	t.Helper()
	dir := filepath.Join(sys, "class/net", name)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "device"), 0o755))
	flags := "0x1002\n"
	if up {
		flags = "0x1003\n"
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "flags"), []byte(flags), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "address"), []byte(mac+"\n"), 0o600))
}

func TestWhatEachCardGets(t *testing.T) {
	address := func(s string) cardPlan { return cardPlan{address: netip.MustParsePrefix(s)} }
	other := cardPlan{address: netip.MustParsePrefix("10.9.0.15/24"), gateway: netip.MustParseAddr("10.9.0.2"), server: netip.MustParseAddr("10.9.0.3")}
	type card struct {
		mac string
		up  bool
	}
	for name, c := range map[string]struct {
		parameter string
		cards     []card
		want      map[string]cardPlan
	}{
		"nothing is said":         {"", []card{{"52:54:00:00:00:01", false}}, map[string]cardPlan{"eth0": userPlan}},
		"a second one":            {"", []card{{"52:54:00:00:00:01", true}, {"52:54:00:00:00:02", false}}, map[string]cardPlan{}},
		"two at once":             {"", []card{{"52:54:00:00:00:01", false}, {"52:54:00:00:00:02", false}}, map[string]cardPlan{"eth0": userPlan}},
		"a segment":               {"52:54:00:00:00:01,10.7.0.9/16", []card{{"52:54:00:00:00:01", false}}, map[string]cardPlan{"eth0": address("10.7.0.9/16")}},
		"large letters":           {"52:54:00:AA:00:01,10.7.0.9/16", []card{{"52:54:00:aa:00:01", false}}, map[string]cardPlan{"eth0": address("10.7.0.9/16")}},
		"a segment, then user":    {"52:54:00:00:00:01,10.7.0.9/16", []card{{"52:54:00:00:00:01", true}, {"52:54:00:00:00:02", false}}, map[string]cardPlan{"eth1": userPlan}},
		"two segments":            {"52:54:00:00:00:01,10.7.0.9/16;52:54:00:00:00:02,-", []card{{"52:54:00:00:00:01", false}, {"52:54:00:00:00:02", false}}, map[string]cardPlan{"eth0": address("10.7.0.9/16"), "eth1": {}}},
		"a gateway":               {"52:54:00:00:00:01,10.9.0.15/24,10.9.0.2,10.9.0.3", []card{{"52:54:00:00:00:01", false}}, map[string]cardPlan{"eth0": other}},
		"what is up stays":        {"52:54:00:00:00:01,10.7.0.9/16", []card{{"52:54:00:00:00:01", true}}, map[string]cardPlan{}},
		"no address":              {"52:54:00:00:00:01,10.7.0.9", []card{{"52:54:00:00:00:01", false}}, map[string]cardPlan{"eth0": userPlan}},
		"an IPv6 address":         {"52:54:00:00:00:01,fd00::1/64", []card{{"52:54:00:00:00:01", false}}, map[string]cardPlan{"eth0": userPlan}},
		"a gateway and no server": {"52:54:00:00:00:01,10.9.0.15/24,10.9.0.2;;", []card{{"52:54:00:00:00:01", false}}, map[string]cardPlan{"eth0": userPlan}},
	} {
		t.Run(name, func(t *testing.T) {
			sys := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(sys, "class/net/lo"), 0o755))
			for i, have := range c.cards {
				fakeCard(t, sys, []string{"eth0", "eth1"}[i], have.mac, have.up)
			}
			require.Equal(t, c.want, newNetworks(sys, c.parameter).todo())
		})
	}
}
