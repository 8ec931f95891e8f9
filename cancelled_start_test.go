package maqet_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// TestCancelledStartLeavesNothing: whenever a start is given up, it ends soon, and no helper,
// image, seed, NVRAM, TPM or socket of it is left.
func TestCancelledStartLeavesNothing(t *testing.T) {
	for _, program := range []string{"swtpm", "passt"} {
		_, err := exec.LookPath(program)
		testhost.Needs(t, program, err)
	}
	dir := shortDir(t)
	m := open(t, dir)
	full := vm.Config{TPM: &vm.TPM{}, Boot: vm.Boot{Firmware: vm.FirmwareUEFI, Kernel: "auto"},
		Shares:    []vm.Share{{Path: t.TempDir()}},
		Networks:  []vm.Network{{Type: vm.NetworkPasst}, {Type: vm.NetworkSegment}, {Forwards: []vm.Forward{{Guest: 22}}}},
		Disks:     []vm.Disk{{Size: vm.MiB}},
		Serials:   []vm.Serial{{Socket: vm.SerialSocketAuto}, {PTY: true}},
		CloudInit: &vm.CloudInit{}, Display: vm.Display{Type: vm.DisplayVNC}}
	warm, err := m.VM.Add(t.Context(), full)
	require.NoError(t, err)
	begun := time.Now()
	_, err = m.VM.Start(t.Context(), warm.ID, vm.StartPaused())
	require.NoError(t, err)
	whole := time.Since(begun)
	require.NoError(t, m.VM.Remove(t.Context(), warm.ID, vm.ForceRemove()))
	const rounds = 16
	for i := range rounds {
		cfg := full
		if i%2 == 0 {
			cfg.Lifetime = vm.Persistent
		}
		inst, err := m.VM.Add(t.Context(), cfg)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), whole*time.Duration(i)/rounds)
		_, err = m.VM.Start(ctx, inst.ID, vm.StartPaused())
		cancel()
		if err != nil {
			var failed *errors.StartError
			if errors.As(err, &failed) {
				t.Logf("given up at step %s", failed.Step)
			}
			require.Empty(t, processesOf(t, dir))
			for _, path := range []string{filepath.Join("images", inst.ID), filepath.Join("state", inst.ID)} {
				require.NoDirExists(t, filepath.Join(dir, path))
			}
			requireNoChildren(t)
			require.NoDirExists(t, filepath.Join(dir, "run", strings.ReplaceAll(inst.ID, "-", "")[:12]))
		}
		require.NoError(t, m.VM.Remove(t.Context(), inst.ID, vm.ForceRemove()))
	}
	require.Eventually(t, func() bool { // who leaves a segment last takes the switch away
		left, err := filepath.Glob(filepath.Join(dir, "run", "*", "*.sock"))
		return err == nil && len(left) == 0
	}, 10*time.Second, 10*time.Millisecond)
}

// requireNoChildren checks that this process has none, such as a helper of a guest.
func requireNoChildren(t *testing.T) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	for _, path := range lists {
		list, err := os.ReadFile(path)
		if err == nil {
			require.Empty(t, string(list), "processes")
		}
	}
}
