package process

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestNearMachines(t *testing.T) {
	f := features{Machines: []string{"pc-q35-7.2", "pc-i440fx-7.2", "microvm", "none"}, Aliases: map[string]string{"q35": "pc-q35-7.2", "pc": "pc-i440fx-7.2"}}
	for name, want := range map[string]string{"q35": "pc-q35-7.2", "pc": "pc-i440fx-7.2", "microvm": "microvm", "pc-q35-7.2": "pc-q35-7.2"} {
		got, err := machineOf(name, f)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for name, want := range map[string]string{"q53": "mean q35", "microvn": "mean microvm", "pc-q35-7.3": "mean pc-q35-7.2", "i440fx": "mean pc-i440fx-7.2"} {
		_, err := machineOf(name, f)
		require.ErrorContains(t, err, want)
	}
	_, err := machineOf("sun4m", f)
	require.EqualError(t, err, "is not known to this QEMU")
}

func TestArchNotInstalled(t *testing.T) {
	h := newHouse(t)
	t.Setenv("PATH", t.TempDir())
	err := h.b.Check(t.Context(), fixedID, vm.Config{Arch: "riscv64"})
	require.ErrorIs(t, err, errors.ErrQEMUNotFound)
	require.ErrorContains(t, err, "qemu-system-misc")
}

func TestCheck(t *testing.T) {
	h := newHouse(t)
	folder := t.TempDir()
	for name, c := range map[string]struct {
		cfg   vm.Config
		kind  *errors.Kind
		field string
		text  string
	}{
		"binary missing":     {vm.Config{Binary: "/nowhere/qemu"}, errors.ErrQEMUNotFound, "", "Config.Binary"},
		"binary is a folder": {vm.Config{Binary: folder}, errors.ErrQEMUNotFound, "", "Config.Binary"},
		"not a QEMU":         {vm.Config{Binary: "/bin/true"}, errors.ErrQEMUNotFound, "", "is it a QEMU"},
		"other arch":         {vm.Config{Binary: "qemu-system-x86_64", Arch: "aarch64"}, errors.ErrConfigValidation, "arch", "x86_64"},
		"unknown machine":    {vm.Config{Machine: "q53"}, errors.ErrConfigValidation, "machine", "q35"},
		"firmware missing":   {vm.Config{Boot: vm.Boot{Firmware: "/nowhere/bios"}}, errors.ErrConfigValidation, "boot.firmware", "no such file"},
		"firmware a folder":  {vm.Config{Boot: vm.Boot{Firmware: folder}}, errors.ErrConfigValidation, "boot.firmware", "regular"},
		"collision":          {vm.Config{Args: []string{"-kernel", "/k"}}, errors.ErrConfigValidation, "args", "-kernel"},
		"fine":               {cfg: vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}}},
		"kernel by hand":     {cfg: vm.Config{Args: []string{"-kernel", "/k"}, Disks: []vm.Disk{{Path: "/a.raw"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			err := h.b.Check(t.Context(), fixedID, c.cfg)
			if c.kind == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.text)
			if c.field != "" {
				var bad *errors.ConfigError
				require.ErrorAs(t, err, &bad)
				require.True(t, bad.Has(c.field), "%v", err)
			}
			_, err = h.b.Launch(t.Context(), vm.LaunchSpec{ID: fixedID, Config: c.cfg, Images: make([]vm.Image, len(c.cfg.Disks)),
				Boot: vm.BootFiles{Kernel: "k", Firmware: c.cfg.Boot.Firmware}})
			require.ErrorIs(t, err, c.kind, "Launch says the same")
		})
	}
	require.Empty(t, filesBelow(t, filepath.Join(h.dir, "run")))
}

func TestBinaryFromEnvironment(t *testing.T) {
	h := newHouse(t)
	t.Setenv("MAQET_QEMU", "/nowhere/qemu")
	require.ErrorContains(t, h.b.Check(t.Context(), fixedID, vm.Config{}), "MAQET_QEMU")
	require.NoError(t, h.b.Check(t.Context(), fixedID, vm.Config{Binary: "qemu-system-x86_64"}))
}

// TestAccel: what auto chooses follows from what KVM was found to be, and the reason is
// logged.
func TestAccel(t *testing.T) {
	h := newHouse(t)
	var log bytes.Buffer
	h.b.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	accel := func(wanted string) (string, error) {
		host, err := h.b.resolve(t.Context(), vm.Config{Accel: wanted, Arch: "x86_64"})
		return host.accel, err
	}
	h.b.kvm = func() error { return errors.New("no flags") }
	got, err := accel("auto")
	require.NoError(t, err)
	require.Equal(t, "tcg", got)
	require.Contains(t, log.String(), "no flags")
	_, err = accel("kvm")
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	require.ErrorContains(t, err, "no flags")

	slow := h.b.Timeouts(t.Context(), vm.Config{Timeouts: vm.Timeouts{Stop: 7}})
	h.b.kvm = func() error { return nil }
	for wanted, want := range map[string]string{"": "kvm", "auto": "kvm", "kvm": "kvm", "tcg": "tcg"} {
		got, err := accel(wanted)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	fast := h.b.Timeouts(t.Context(), vm.Config{Timeouts: vm.Timeouts{Stop: 7}})
	require.Equal(t, vm.Duration(7), slow.Stop, "what is set is not scaled")
	require.Equal(t, 4*fast.Ready, slow.Ready)
	require.Equal(t, 4*fast.Launch, slow.Launch)
	require.Equal(t, 4*fast.Silence, slow.Silence)
	require.Error(t, h.b.kvmProblem("riscv64", features{KVM: true}), "another architecture")
	require.Error(t, h.b.kvmProblem("x86_64", features{}), "a QEMU without KVM")
}

// TestAccelOfThisHost: whatever this machine is, the choice agrees with its processor.
func TestAccelOfThisHost(t *testing.T) {
	h := newHouse(t)
	data, err := os.ReadFile("/proc/cpuinfo")
	require.NoError(t, err)
	host, err := h.b.resolve(t.Context(), vm.Config{})
	require.NoError(t, err)
	if !strings.Contains(string(data), " vmx") && !strings.Contains(string(data), " svm") {
		require.Equal(t, "tcg", host.accel)
		require.Error(t, h.b.kvm())
	}
	t.Logf("%s: %v", host.accel, h.b.kvm())
}
