package snapshot

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

func TestForksHaveMACsOfTheirOwn(t *testing.T) {
	rec := &templateRecord{
		Template: Template{Config: vm.Config{Networks: []vm.Network{{MAC: "52:54:00:00:00:01"}, {Name: "lan", Type: vm.NetworkSegment}, {Type: vm.NetworkTap}}}},
		Cards: []vm.Card{{Name: "net0", MAC: "52:54:00:00:00:01"}, {Name: "lan", MAC: "52:54:00:00:00:02"},
			{Name: "net2", MAC: "52:54:00:00:00:03"}},
	}
	macs := func() (list []string) {
		for _, n := range rec.forkConfig(forkOptions{}).Networks {
			list = append(list, n.MAC)
		}
		return list
	}
	require.Equal(t, []string{"52:54:00:00:00:01", "", ""}, macs(), "a guest with DHCP leases its address from the user network")
	rec.Boot.Default = true
	require.Equal(t, []string{"", "", ""}, macs())

	cfg := rec.Config
	require.False(t, leases(cfg, "net0"))
	require.False(t, leases(cfg, "lan"))
	require.True(t, leases(cfg, "net2"))
	require.False(t, leases(cfg, "plugged"))
	cfg.Networks[2].Address = "10.1.2.3/24"
	require.False(t, leases(cfg, "net2"), "it has a fixed one")
}
