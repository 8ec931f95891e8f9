package maqet_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// plugTest is one kind of device, and how the guest sees it.
type plugTest struct {
	name   string
	device qmp.Device
	seen   string // a shell condition that holds in the guest while it is there
	use    string // what the guest does with it, run once it is seen
	stays  bool   // it can't be taken out again here
}

func rawImage(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	return path
}

func plugTests(t *testing.T) []plugTest {
	const wrote = "echo written in the guest | dd of=/dev/%s conv=fsync 2>/dev/null && dd if=/dev/%s bs=16 count=1 2>/dev/null | grep -q 'written in the'"
	use := func(disk string) string { return strings.ReplaceAll(wrote, "%s", disk) }
	return []plugTest{
		{name: "disk", device: qmp.Device{ID: "scratch", Disk: &qmp.Disk{Path: rawImage(t, 8<<20), Format: "raw", Serial: "S,1"}},
			seen: "test -b /dev/vda -a \"$(cat /sys/block/vda/serial)\" = S,1", use: use("vda")},
		{name: "NVMe disk", device: qmp.Device{ID: "fast", Disk: &qmp.Disk{Path: rawImage(t, 8<<20), Format: "raw", Interface: qmp.DiskNVMe}},
			seen: "test -b /dev/nvme0n1", use: use("nvme0n1")},
		{name: "SCSI controller", device: qmp.Device{ID: "scsi", Driver: "virtio-scsi-pci"},
			seen: "ls /sys/class/scsi_host | grep -q host", stays: true},
		{name: "SCSI disk", device: qmp.Device{ID: "lun", Disk: &qmp.Disk{Path: rawImage(t, 8<<20), Format: "raw", Interface: qmp.DiskSCSI}},
			seen: "test -b /dev/sda", use: use("sda")},
		{name: "NIC", device: qmp.Device{ID: "lan", NIC: &qmp.NIC{MAC: "52:54:00:aa:bb:cc"}},
			seen: "grep -q 52:54:00:aa:bb:cc /sys/class/net/eth*/address"},
		{name: "serial port", device: qmp.Device{ID: "log", Serial: &qmp.SerialPort{Name: "org.example.log", File: filepath.Join(t.TempDir(), "log")}},
			seen: "grep -q org.example.log /sys/class/virtio-ports/*/name",
			use:  "echo to the host > /dev/$(basename $(dirname $(grep -l org.example.log /sys/class/virtio-ports/*/name)))"},
		{name: "rng", device: qmp.Device{ID: "dice", RNG: &qmp.RNG{}},
			seen: "grep -q virtio /sys/class/misc/hw_random/rng_available"},
		{name: "memory", device: qmp.Device{ID: "more", Memory: &qmp.Memory{Size: 128 << 20}},
			seen: "test $(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) -gt 220000"},
		{name: "CPU", device: qmp.Device{ID: "second", CPU: &qmp.CPU{}},
			seen: "test $(nproc) -eq 2", stays: true},
	}
}

// eventually waits for the guest's system, which finds its devices by itself. It is
// asked in the guest: one command waits there.
func eventually(t *testing.T, g *maqet.Machine, condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := g.Exec(ctx, "sh", "-c", "i=0; until "+condition+"; do sleep 0.05; i=$((i+1)); test $i -lt 600 || exit 1; done")
	require.NoError(t, err, condition)
}

// TestHotplug plugs each kind of device into one guest, uses it there, takes it out, and
// puts it back; then starts the VM again.
func TestHotplug(t *testing.T) {
	m := open(t, shortDir(t))
	g, err := m.Run(t.Context(), vm.Config{MaxMemory: vm.GiB, CPU: vm.CPU{Max: 2}, HotplugPorts: 6})
	require.NoError(t, err)
	tests := plugTests(t)
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) { plugUseUnplug(t, g, c) })
	}
	t.Run("again", func(t *testing.T) {
		for _, c := range tests {
			if !c.stays {
				require.NoError(t, g.AddDevice(t.Context(), c.device), c.name)
			}
		}
		for _, c := range tests {
			eventually(t, g, c.seen)
		}
	})
	t.Run("restart", func(t *testing.T) {
		before, err := g.Instance(t.Context())
		require.NoError(t, err)
		require.Len(t, before.Plugged, len(tests))
		_, err = g.Stop(t.Context())
		require.NoError(t, err)
		require.NoError(t, g.Start(t.Context()))
		after, err := g.Instance(t.Context())
		require.NoError(t, err)
		require.Equal(t, before.Plugged, after.Plugged)
		for _, c := range tests {
			eventually(t, g, c.seen)
		}
		for _, c := range tests {
			if !c.stays {
				require.NoError(t, g.RemoveDevice(t.Context(), c.device.ID), c.name)
			}
		}
		requireNoBackends(t, g, tests)
	})
	t.Run("with its bus", func(t *testing.T) {
		lun := plugTest{device: qmp.Device{ID: "lun", Disk: &qmp.Disk{Path: rawImage(t, 8<<20), Format: "raw", Interface: qmp.DiskSCSI}}}
		require.NoError(t, g.AddDevice(t.Context(), lun.device))
		require.NoError(t, g.RemoveDevice(t.Context(), "scsi"))
		require.Eventually(t, func() bool {
			inst, err := g.Instance(t.Context())
			require.NoError(t, err)
			return len(inst.Plugged) == 1 // the CPU
		}, 10*time.Second, 5*time.Millisecond, "the record follows")
		require.NoError(t, g.RemoveDevice(t.Context(), "lun"), "its backends are left")
		requireNoBackends(t, g, []plugTest{lun, {device: qmp.Device{ID: "scsi"}}})
	})
}

func plugUseUnplug(t *testing.T, g *maqet.Machine, c plugTest) {
	begun := time.Now()
	require.NoError(t, g.AddDevice(t.Context(), c.device))
	plugged := time.Since(begun)
	eventually(t, g, c.seen)
	seen := time.Since(begun)
	if c.use != "" {
		_, err := g.Exec(t.Context(), "sh", "-c", c.use)
		require.NoError(t, err)
	}
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	last := inst.Plugged[len(inst.Plugged)-1]
	require.Equal(t, c.device.ID, last.ID)
	require.NotEmpty(t, last.Driver)
	if c.stays {
		t.Logf("plugged in %v, seen after %v", plugged, seen)
		return
	}
	begun = time.Now()
	require.NoError(t, g.RemoveDevice(t.Context(), c.device.ID))
	t.Logf("plugged in %v, seen after %v, unplugged in %v", plugged, seen, time.Since(begun))
	eventually(t, g, "! ( "+c.seen+" )")
	requireNoBackends(t, g, []plugTest{c})
	inst, err = g.Instance(t.Context())
	require.NoError(t, err)
	for _, d := range inst.Plugged {
		require.NotEqual(t, c.device.ID, d.ID)
	}
}

// requireNoBackends checks that QEMU has nothing left of the devices, except of those
// that stay.
func requireNoBackends(t *testing.T, g *maqet.Machine, tests []plugTest) {
	t.Helper()
	var all strings.Builder
	for command, args := range map[string]any{
		"query-named-block-nodes": map[string]any{"flat": true}, "query-chardev": nil,
		"qom-list": map[string]any{"path": "/objects"}, "query-rx-filter": nil, "query-memdev": nil,
	} {
		out, err := g.QMP(t.Context(), command, args)
		require.NoError(t, err)
		all.WriteString(string(out))
	}
	out, err := g.QMP(t.Context(), "qom-list", map[string]any{"path": "/machine/peripheral"})
	require.NoError(t, err)
	all.WriteString(string(out))
	for _, c := range tests {
		if c.stays {
			continue
		}
		name, err := json.Marshal(c.device.ID)
		require.NoError(t, err)
		require.NotContains(t, all.String(), string(name))
		require.NotContains(t, all.String(), c.device.ID+"-file")
	}
}

// TestHotplugBeforeBoot: a guest that has not booted does not let go of a device; later
// it does. The firmware is SeaBIOS, which numbers the ports' buses itself. One of the
// devices is the configuration's: a restart comes without it.
func TestHotplugBeforeBoot(t *testing.T) {
	m := open(t, shortDir(t))
	cfg := vm.Config{Name: "slow", Boot: vm.Boot{Firmware: "bios"},
		Devices: []vm.Device{{ID: "balloon", Driver: "virtio-balloon-pci", Props: map[string]any{"bus": "hotplug0"}}}}
	_, err := m.VM.Add(t.Context(), cfg)
	require.NoError(t, err)
	_, err = m.VM.Start(t.Context(), "slow") // does not wait for the system
	require.NoError(t, err)
	g, err := m.Machine(t.Context(), "slow")
	require.NoError(t, err)
	require.NoError(t, g.AddDevice(t.Context(), qmp.Device{ID: "dice", RNG: &qmp.RNG{}}))
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = g.RemoveDevice(short, "dice")
	require.ErrorIs(t, err, errors.ErrDeviceBusy)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	ready, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, g.WaitFor(ready, guest.AgentReady()))
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() { errs <- g.RemoveDevice(ready, "dice") }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil { // one that came when all was done
			var gone *errors.QMPError
			require.ErrorAs(t, err, &gone)
			require.Equal(t, "DeviceNotFound", gone.Class)
		}
	}
	requireNoBackends(t, g, []plugTest{{device: qmp.Device{ID: "dice"}}})

	require.NoError(t, g.RemoveDevice(ready, "balloon"))
	_, err = m.VM.Apply(t.Context(), cfg)
	require.NoError(t, err, "the configuration is still the same")
	_, err = g.Stop(t.Context(), vm.Force())
	require.NoError(t, err)
	_, err = m.VM.Start(t.Context(), "slow", vm.StartPaused())
	require.NoError(t, err)
	requireNoBackends(t, g, []plugTest{{device: qmp.Device{ID: "dice"}}, {device: qmp.Device{ID: "balloon"}}})
}

// TestHotplugOnPC: the old machine takes devices on its root bus, and disks of the
// configuration can go.
func TestHotplugOnPC(t *testing.T) {
	m := open(t, shortDir(t))
	g, err := m.Run(t.Context(), vm.Config{Machine: "pc", Disks: []vm.Disk{{Size: vm.MiB}}, RNG: &vm.RNG{}})
	require.NoError(t, err)
	disk := plugTest{device: qmp.Device{ID: "scratch", Disk: &qmp.Disk{Path: rawImage(t, 8<<20), Format: "raw"}}, seen: "test -b /dev/vdb"}
	plugUseUnplug(t, g, disk)
	require.NoError(t, g.RemoveDevice(t.Context(), "disk0"))
	eventually(t, g, "test ! -b /dev/vda")
	const noRNG = "! grep -q virtio /sys/class/misc/hw_random/rng_available"
	eventually(t, g, "grep -q virtio /sys/class/misc/hw_random/rng_available")
	require.NoError(t, g.RemoveDevice(t.Context(), vm.DeviceRNG))
	eventually(t, g, noRNG)
	_, err = g.Stop(t.Context(), vm.Force())
	require.NoError(t, err)
	require.NoError(t, g.Start(t.Context()))
	eventually(t, g, "test ! -b /dev/vda")
	eventually(t, g, noRNG)
}
