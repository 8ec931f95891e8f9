package vm_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestZeroConfigIsValid(t *testing.T) {
	require.NoError(t, vm.Config{}.Validate())
}

// TestTenMistakes: every mistake is reported at once, each by its field.
func TestTenMistakes(t *testing.T) {
	cfg := vm.Config{
		Name: "../etc", Arch: "z80", Accel: "warp", Memory: 512, Lifetime: "for ever",
		CPU:      vm.CPU{Count: 3, Cores: 2},
		Boot:     vm.Boot{Cmdline: "a\nb", Files: map[string]string{"etc/motd": "x"}},
		Disks:    []vm.Disk{{Path: "a.qcow2", Base: "b.qcow2"}, {Name: "disk0", Path: "c"}},
		Networks: []vm.Network{{MAC: "01:00:00:00:00:00", Forwards: []vm.Forward{{Port: 70000, Guest: 22}}}},
		Devices:  []vm.Device{{Driver: "virtio-rng-pci,id=x"}},
		Shares:   []vm.Share{{Path: "/srv", Type: "smb"}},
		Timeouts: vm.Timeouts{Stop: -1},
	}
	err := cfg.Validate()
	var ce *errors.ConfigError
	require.ErrorAs(t, err, &ce)
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	for _, field := range []string{"name", "arch", "accel", "memory", "lifetime", "cpu.count", "boot.cmdline",
		"boot.files[etc/motd]", "disks[0]", "disks[1].name", "disks[1].format", "networks[0].mac",
		"networks[0].forwards[0].port", "devices[0].driver", "shares[0].type", "timeouts.stop"} {
		require.True(t, ce.Has(field), "%s in:\n%v", field, err)
	}
	for _, p := range ce.Problems {
		require.NotEmpty(t, p.Message, p.Field)
		require.NotEmpty(t, p.Fix, p.Field)
	}
}

// TestTwice: what must be unique in a VM.
func TestTwice(t *testing.T) {
	for field, cfg := range map[string]vm.Config{
		"networks[1].name":             {Networks: []vm.Network{{Name: "lan"}, {Name: "lan"}}},
		"networks[1].forwards[0].port": {Networks: []vm.Network{{Forwards: []vm.Forward{{Port: 80, Guest: 80}}}, {Forwards: []vm.Forward{{Host: "127.0.0.1", Port: 80, Guest: 81, Proto: "tcp"}}}}},
		"devices[1].id":                {Devices: []vm.Device{{Driver: "x", ID: "a"}, {Driver: "x", ID: "a"}}},
		"cpu":                          {CPU: vm.CPU{Sockets: 100, Cores: 100}},
		"cpu.max":                      {CPU: vm.CPU{Count: 2, Max: 1}},
		"max_memory":                   {MaxMemory: vm.DefaultMemory - vm.MiB},
		"hotplug_ports":                {HotplugPorts: 33},
	} {
		var ce *errors.ConfigError
		require.ErrorAs(t, cfg.Validate(), &ce, field)
		require.True(t, ce.Has(field), "%s in:\n%v", field, ce)
	}
	require.NoError(t, vm.Config{Networks: []vm.Network{{Forwards: []vm.Forward{
		{Port: 53, Guest: 53}, {Port: 53, Guest: 53, Proto: "udp"}, {Host: "127.0.0.2", Port: 53, Guest: 53}}}}}.Validate())
}

// TestHeadroom: what can be plugged later.
func TestHeadroom(t *testing.T) {
	for _, cfg := range []vm.Config{
		{HotplugPorts: -1}, {HotplugPorts: 32}, {MaxMemory: vm.DefaultMemory}, {Memory: vm.GiB, MaxMemory: 4 * vm.GiB},
		{CPU: vm.CPU{Max: 1}}, {CPU: vm.CPU{Count: 2, Max: 3}}, {CPU: vm.CPU{Cores: 2, Threads: 2, Max: 8}},
	} {
		require.NoError(t, cfg.Validate(), "%+v", cfg)
	}
	for field, list := range map[string][]vm.Config{
		"hotplug_ports": {{HotplugPorts: -2}},
		"max_memory":    {{Memory: vm.GiB, MaxMemory: vm.GiB - vm.MiB}, {MaxMemory: vm.GiB + 1}, {MaxMemory: -vm.GiB}, {MaxMemory: 17 * vm.TiB}},
		"cpu.max":       {{CPU: vm.CPU{Max: -1}}, {CPU: vm.CPU{Max: 5000}}, {CPU: vm.CPU{Cores: 2, Max: 3}}},
	} {
		for _, cfg := range list {
			var ce *errors.ConfigError
			require.ErrorAs(t, cfg.Validate(), &ce, "%+v", cfg)
			require.True(t, ce.Has(field), "%s in %v", field, ce)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "web-1.example_x", "0", strings.Repeat("x", 63)} {
		require.NoError(t, vm.Config{Name: name}.Validate(), name)
	}
	for _, name := range []string{"..", "../x", "a/b", "-x", ".x", "a,b", "a=b", "a b", "a\nb", "a\n", "a\x00", "ü",
		strings.Repeat("x", 300), strings.Repeat("x", 64), "0190c6a2-7b4e-7cc0-a6ab-3f2a1d1e5c11"} {
		require.ErrorIs(t, vm.Config{Name: name}.Validate(), errors.ErrConfigValidation, "%q", name)
	}
}

func TestVcpus(t *testing.T) {
	require.Equal(t, 1, vm.CPU{}.Vcpus())
	require.Equal(t, 4, vm.CPU{Count: 4}.Vcpus())
	require.Equal(t, 8, vm.CPU{Sockets: 2, Cores: 2, Threads: 2}.Vcpus())
}

func TestSize(t *testing.T) {
	for text, want := range map[string]vm.Size{
		"512M": 512 * vm.MiB, "512m": 512 * vm.MiB, "1.5G": 1536 * vm.MiB, "4 GiB": 4 * vm.GiB, "4gb": 4 * vm.GiB,
		"1073741824": vm.GiB, "0": 0, "10B": 10, "2T": 2 * vm.TiB, " 1K ": vm.KiB,
	} {
		got, err := vm.ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "M", "-1G", "1X", "1.2.3M", "0.3B", "99999999999P", "1e3", "12 M M", "9223372036854775808"} {
		_, err := vm.ParseSize(text)
		require.Error(t, err, text)
	}
	for _, s := range []vm.Size{0, 1, 1000, vm.KiB, 1536 * vm.MiB, 5 * vm.TiB} {
		back, err := vm.ParseSize(s.String())
		require.NoError(t, err)
		require.Equal(t, s, back)
	}
}

func TestConfigTextForms(t *testing.T) {
	keep := false
	cfg := vm.Config{
		Name: "web", Memory: 512 * vm.MiB, Lifetime: vm.Persistent, Labels: map[string]string{"a": "b"},
		Disks:    []vm.Disk{{Base: "/x.qcow2", Size: 3 * vm.GiB, Keep: &keep}},
		Timeouts: vm.Timeouts{Ready: vm.Duration(90 * time.Second)},
	}
	data, err := json.Marshal(cfg)
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"web","memory":"512M","lifetime":"persistent","labels":{"a":"b"},
		"disks":[{"base":"/x.qcow2","size":"3G","keep":false}],"timeouts":{"ready":"1m30s"}}`, string(data))
	var back vm.Config
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, cfg, back)

	text, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	back = vm.Config{}
	require.NoError(t, yaml.Unmarshal(text, &back))
	require.Equal(t, cfg, back)
}

func TestTransitions(t *testing.T) {
	states := []vm.State{vm.Created, vm.Starting, vm.Running, vm.Paused, vm.Stopping, vm.Stopped, vm.Failed}
	for _, s := range states {
		require.True(t, s.Valid())
		require.Equal(t, s.CanBecome(vm.Failed), s.Live(), "failed is reached from any live state, and only from those: %s", s)
		require.Equal(t, s.CanBecome(vm.Starting), !s.Live(), "only what is not live starts: %s", s)
		require.False(t, s.CanBecome(vm.Created))
		require.False(t, s.CanBecome(s), s)
	}
	require.False(t, vm.State("napping").Valid())
	require.False(t, vm.State("napping").CanBecome(vm.Starting))
}
