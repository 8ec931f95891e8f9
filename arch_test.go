package maqet_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// archTest is an architecture, and where its guests differ.
type archTest struct {
	arch    string
	machine string // what the versioned name begins with
	console string
	// plug is how a disk gets into the running guest, and what it is called there.
	// Debian's kernel for riscv64 does not know plugged PCI devices.
	plug, disk string
	button     bool // the machine has a power button
}

var archTests = []archTest{
	{arch: "x86_64", machine: "pc-q35-", console: "ttyS0", plug: qmp.DiskVirtio, disk: "vdb", button: true},
	{arch: "aarch64", machine: "virt-", console: "ttyAMA0", plug: qmp.DiskVirtio, disk: "vdb", button: true},
	{arch: "riscv64", machine: "virt", console: "ttyS0", plug: qmp.DiskSCSI, disk: "sda"},
}

// TestArchitectures boots the default guest of each architecture and works in it.
func TestArchitectures(t *testing.T) {
	for _, c := range archTests {
		t.Run(c.arch, func(t *testing.T) {
			dir := shortDir(t)
			m := open(t, dir)
			cfg := vm.Config{Arch: c.arch, Disks: []vm.Disk{{Size: 16 * vm.MiB, Serial: "DATA"}}, Networks: []vm.Network{{}}}
			if c.plug == qmp.DiskSCSI {
				cfg.Devices = []vm.Device{{Driver: "virtio-scsi-pci"}}
			}
			g := runOrSkip(t, m, cfg)
			c.boots(t, g)
			copyBothWays(t, g)
			c.plugsDisk(t, g)
			c.stops(t, g)
			require.NoError(t, m.Close())
			requireNothingLeft(t, dir)
		})
	}
}

// runOrSkip skips the test when the architecture's QEMU or kernel is not there.
func runOrSkip(t *testing.T, m *maqet.Maqet, cfg vm.Config) *maqet.Machine {
	t.Helper()
	g, err := m.Run(t.Context(), cfg)
	if errors.Is(err, errors.ErrQEMUNotFound) || errors.Is(err, errors.ErrKernelNotFound) {
		testhost.Lacks(t, err)
	}
	require.NoError(t, err)
	return g
}

// boots looks at what the guest booted with: processor, machine, console, clock, disk, network.
func (c archTest) boots(t *testing.T, g *maqet.Machine) {
	t.Helper()
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	if c.arch != kernel.HostArch() {
		require.Equal(t, "tcg", inst.Runtime.Accel, "auto")
	}
	require.True(t, strings.HasPrefix(inst.Runtime.Machine, c.machine), inst.Runtime.Machine)
	require.Equal(t, c.arch, shell(t, g, "uname -m"))
	require.Contains(t, shell(t, g, "cat /proc/cmdline"), "console="+c.console)
	require.Contains(t, shell(t, g, "cat /proc/consoles"), c.console)
	console, err := g.Console()
	require.NoError(t, err)
	text, err := console.Text(t.Context())
	require.NoError(t, err)
	require.Contains(t, text, "maqet-init: ready")
	seconds, err := strconv.ParseInt(shell(t, g, "date +%s"), 10, 64)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), time.Unix(seconds, 0), time.Minute, "the clock of the machine is read")
	require.Equal(t, "DATA", shell(t, g, "cat /sys/block/vda/serial"))
	require.Equal(t, "on a disk", shell(t, g, "echo on a disk > /dev/vda; sync; head -n 1 /dev/vda"))
	eventually(t, g, "ip addr show eth0 | grep -q 10.0.2.15")
}

// copyBothWays takes a file tree into the guest, changes it there, and gets it back.
func copyBothWays(t *testing.T, g *maqet.Machine) {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "sub"), 0o700))
	data := strings.Repeat("0123456789abcdef", 1<<16)
	require.NoError(t, os.WriteFile(filepath.Join(tree, "sub", "file"), []byte(data), 0o640))
	require.NoError(t, g.CopyTo(t.Context(), tree, "/tmp/tree"))
	shell(t, g, "echo more >> /tmp/tree/sub/file; ln -s sub/file /tmp/tree/link")
	back := filepath.Join(t.TempDir(), "back")
	require.NoError(t, g.CopyFrom(t.Context(), "/tmp/tree", back))
	got, err := os.ReadFile(filepath.Join(back, "link"))
	require.NoError(t, err)
	require.True(t, data+"more\n" == string(got), "%d bytes came back", len(got))
}

func (c archTest) plugsDisk(t *testing.T, g *maqet.Machine) {
	t.Helper()
	disk := qmp.Device{ID: "more", Disk: &qmp.Disk{Path: rawImage(t, 8<<20), Format: "raw", Interface: c.plug}}
	require.NoError(t, g.AddDevice(t.Context(), disk))
	eventually(t, g, "test -b /dev/"+c.disk)
	shell(t, g, "echo plugged > /dev/"+c.disk+"; sync")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, g.RemoveDevice(ctx, "more"))
	eventually(t, g, "! test -b /dev/"+c.disk)
	data, err := os.ReadFile(disk.Disk.Path)
	require.NoError(t, err)
	require.Equal(t, "plugged\n", string(data[:8]))
}

// stops ends the guest by its power button, where it has one; a machine without is ended
// through the agent.
func (c archTest) stops(t *testing.T, g *maqet.Machine) {
	t.Helper()
	if !c.button {
		rep, err := g.Stop(t.Context())
		require.NoError(t, err)
		require.True(t, rep.Graceful, "%+v", rep)
		require.Equal(t, "agent", rep.Step)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Pressed until it is heard: the guest watches it from a second after it is ready.
	stopped := make(chan error, 1)
	go func() {
		_, err := g.Wait(ctx, vm.Stopped)
		stopped <- err
	}()
	for ticker := time.NewTicker(2 * time.Second); ; {
		_, _ = g.QMP(ctx, "system_powerdown", nil) // fails once the guest is gone
		select {
		case err := <-stopped:
			ticker.Stop()
			require.NoError(t, err)
			inst, err := g.Instance(t.Context())
			require.NoError(t, err)
			require.Equal(t, "guest-shutdown", inst.Reason)
			return
		case <-ticker.C:
		}
	}
}
