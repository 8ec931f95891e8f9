package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/vm"
)

func TestLayers(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	base := vm.Config{
		Name: "layered", Memory: 512 * vm.MiB, CPU: vm.CPU{Count: 2},
		Boot:     vm.Boot{Files: map[string]string{"/etc/motd": filepath.Join(here, "files/motd"), "/etc/issue": filepath.Join(here, "texts/issue")}},
		Disks:    []vm.Disk{{Name: "data", Size: vm.GiB, Serial: "DATA"}, {Name: "scratch", Size: 256 * vm.MiB}},
		Networks: []vm.Network{{Name: "lan"}},
		Devices: []vm.Device{{Driver: "virtio-rng-pci", ID: "random",
			Props: map[string]any{"max-bytes": int64(1024), "period": int64(1000), "disable-legacy": "on"}}},
		Args:   []string{"-rtc", "base=utc,clock=host"},
		Labels: map[string]string{"stage": "base", "team": "core"},
	}
	cfg, err := load([]string{"base.yaml"})
	require.NoError(t, err)
	require.Equal(t, base, cfg)

	ci := base
	ci.Memory, ci.CPU.Count, ci.Networks = 256*vm.MiB, 1, nil
	ci.Disks = []vm.Disk{{Name: "data", Size: 64 * vm.MiB, Serial: "DATA"}}
	require.NoError(t, ci.Timeouts.Ready.UnmarshalText([]byte("5m")))
	ci.Labels = map[string]string{"stage": "ci", "team": "core"}
	cfg, err = load([]string{"base.yaml", "ci.yaml"})
	require.NoError(t, err)
	require.Equal(t, ci, cfg)

	local := base
	local.Networks = []vm.Network{{Name: "lan", Forwards: []vm.Forward{{Port: 8080, Guest: 80}}}}
	local.Devices = append(local.Devices, vm.Device{Driver: "virtio-balloon-pci"}, vm.Device{Driver: "virtio-keyboard-pci"})
	local.Args = append(local.Args, "-msg", "timestamp=on")
	local.Labels = map[string]string{"stage": "local"}
	cfg, err = load([]string{"base.yaml", "local.yaml"})
	require.NoError(t, err)
	require.Equal(t, local, cfg)
}

// TestBoot shows and boots what CI would.
func TestBoot(t *testing.T) {
	_, err := exec.LookPath("qemu-system-x86_64")
	if err == nil {
		_, err = kernel.Find(t.Context(), kernel.Options{Arch: "x86_64"})
	}
	if err != nil {
		if os.Getenv("MAQET_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "ml-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	cfg, err := load([]string{"base.yaml", "ci.yaml"})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, show(t.Context(), &out, cfg))
	require.Contains(t, out.String(), "\n  -name guest=layered \\\n")
	require.Contains(t, out.String(), "\n  -rtc base=utc,clock=host\n")
	require.Contains(t, out.String(), `"disable-legacy":"on"`)
	out.Reset()
	require.NoError(t, run(t.Context(), &out, cfg, maqet.WithDir(dir)))
	require.Equal(t, "This guest was described in layers.\n1\nDATA\nlo\n", out.String())
}
