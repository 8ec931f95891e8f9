package vm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestNetworksThatAreRight(t *testing.T) {
	for _, n := range []vm.Network{
		{}, {Type: "user", Restrict: true, Subnet: "192.168.7.0/24", Forwards: []vm.Forward{{Guest: 22}, {Guest: 22}, {Guest: 53, Proto: "udp"}}},
		{Subnet: "10.0.0.0/8"}, {Subnet: "10.0.0.32/27"},
		{Type: "segment"}, {Type: "segment", Segment: "lan", Address: "10.1.0.2/16", LinkDown: true, Capture: "x.pcap", Model: "e1000e"},
		{Type: "segment", Address: "10.1.0.0/31"},
		{Type: "passt", Subnet: "10.3.0.0/24", Forwards: []vm.Forward{{Port: 8080, Guest: 80}}},
		{Type: "tap", Interface: "tap0"}, {Type: "bridge", Interface: "br-0.5", Address: "10.1.0.2/16"},
		{Type: "none", MAC: "52:54:00:00:00:01", Address: "10.1.0.2/32"},
	} {
		require.NoError(t, vm.Config{Networks: []vm.Network{n}}.Validate(), "%+v", n)
	}
}

func TestNetworksThatAreWrong(t *testing.T) {
	for field, list := range map[string][]vm.Network{
		"type":              {{Type: "lan"}, {Type: "User"}},
		"forwards":          {{Type: "segment", Forwards: []vm.Forward{{Port: 1, Guest: 1}}}, {Type: "none", Forwards: []vm.Forward{{Port: 1, Guest: 1}}}},
		"forwards[0].port":  {{Forwards: []vm.Forward{{Port: -1, Guest: 1}}}, {Forwards: []vm.Forward{{Port: 65536, Guest: 1}}}, {Type: "passt", Forwards: []vm.Forward{{Guest: 1}}}},
		"forwards[0].guest": {{Forwards: []vm.Forward{{Port: 1}}}, {Forwards: []vm.Forward{{Guest: 65536}}}},
		"forwards[0].host":  {{Forwards: []vm.Forward{{Host: "::1", Guest: 1}}}, {Forwards: []vm.Forward{{Host: "localhost", Guest: 1}}}},
		"forwards[0].proto": {{Forwards: []vm.Forward{{Proto: "sctp", Guest: 1}}}},
		"restrict":          {{Type: "passt", Restrict: true}, {Type: "tap", Interface: "tap0", Restrict: true}},
		"subnet": {{Type: "segment", Subnet: "10.0.0.0/24"}, {Subnet: "10.0.0.1/24"}, {Subnet: "10.0.0.0"}, {Subnet: "fd00::/64"},
			{Subnet: "10.0.0.0/28"}, {Subnet: "0.0.0.0/1"}, {Subnet: "10.0.0.0/24,x=y"}},
		"segment": {{Segment: "lan"}, {Type: "segment", Segment: "../lan"}, {Type: "segment", Segment: "a/b"}, {Type: "segment", Segment: "0"}},
		"address": {{Address: "10.0.0.2/24"}, {Type: "segment", Address: "10.0.0.2"}, {Type: "segment", Address: "10.0.0.0/24"},
			{Type: "segment", Address: "fd00::1/64"}, {Type: "segment", Address: "224.0.0.1/8"}, {Type: "segment", Address: "127.0.0.1/8"},
			{Type: "segment", Address: "10.0.0.2/24;x"}},
		"interface": {{Interface: "eth0"}, {Type: "tap"}, {Type: "bridge"}, {Type: "tap", Interface: "a/b"}, {Type: "tap", Interface: "sixteen-letters-"},
			{Type: "bridge", Interface: "-b"}, {Type: "tap", Interface: "tap%d"}},
		"model":   {{Model: "e1000,x=y"}, {Model: "-x"}, {Model: "e 1000"}},
		"mac":     {{MAC: "52:54:00:00:00"}, {MAC: "01:00:00:00:00:00"}},
		"capture": {{Capture: "a\nb"}},
	} {
		for _, n := range list {
			var ce *errors.ConfigError
			require.ErrorAs(t, vm.Config{Networks: []vm.Network{{}, n}}.Validate(), &ce, "%+v", n)
			require.True(t, ce.Has("networks[1]."+field), "%s of %+v in:\n%v", field, n, ce)
			for _, p := range ce.Problems {
				require.NotEmpty(t, p.Fix)
			}
		}
	}
}
