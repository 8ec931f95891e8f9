package maqet_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// diskImage makes a raw image of some MiB that begins with its own name, by which the
// guest knows it.
func diskImage(t *testing.T, dir, name string, mib int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	label := strings.TrimSuffix(name, filepath.Ext(name))
	require.NoError(t, os.WriteFile(path, []byte(label+"\n"), 0o600))
	require.NoError(t, os.Truncate(path, mib<<20))
	return path
}

// seenDisk is a block device as the guest sees it.
type seenDisk struct {
	device, serial   string
	mib              int64
	readOnly, rotary bool
}

// lookScript prints a line for each block device that has a label at its start. Where the
// serial number is depends on the bus: in sysfs, in the page 0x80 that SCSI disks have for
// it, or at the USB device above.
const lookScript = `
for b in /sys/block/*; do
	d=$(basename $b); case $d in loop*|ram*) continue;; esac
	label=$(dd if=/dev/$d bs=64 count=1 2>/dev/null | head -n 1 | tr -cd 'a-z0-9')
	test -n "$label" || continue
	serial=
	up=$(readlink -f $b/device)
	while test "$up" != / && ! test -e $up/serial; do up=$(dirname $up); done
	if test -e $b/serial; then serial=$(cat $b/serial)
	elif test "$up" != /; then serial=$(cat $up/serial)
	elif test -e $b/device/vpd_pg80; then serial=$(tail -c +5 $b/device/vpd_pg80); fi
	echo $label $d $(cat $b/size) $(cat $b/ro) $(cat $b/queue/rotational) $serial
done`

// lookAtDisks returns the guest's disks by their labels, as soon as there are as many.
func lookAtDisks(t *testing.T, g *maqet.Machine, want int) map[string]seenDisk {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out := inGuest(ctx, t, g, fmt.Sprintf("look() { %s\n}\nuntil test $(look | wc -l) -ge %d; do sleep 0.2; done; look", lookScript, want))
	seen := map[string]seenDisk{}
	for line := range strings.Lines(out) {
		f := append(strings.Fields(line), "")
		sectors, err := strconv.ParseInt(f[2], 10, 64)
		require.NoError(t, err, line)
		seen[f[0]] = seenDisk{device: f[1], mib: sectors * 512 >> 20, readOnly: f[3] == "1", rotary: f[4] == "1", serial: f[5]}
	}
	require.Len(t, seen, want, out)
	return seen
}

func inGuest(ctx context.Context, t *testing.T, g *maqet.Machine, script string) string {
	t.Helper()
	res, err := g.Exec(ctx, "sh", "-c", script)
	if err != nil && ctx.Err() != nil {
		res, _ = g.Exec(t.Context(), "sh", "-c", lookScript+"; ls -l /sys/block; lsmod; dmesg | tail -n 30")
		t.Logf("in the guest:\n%s", res.Stdout)
	}
	require.NoError(t, err, script)
	return string(res.Stdout)
}

// TestEveryBus has a disk and a CD-ROM on every bus that a machine pc can have.
func TestEveryBus(t *testing.T) {
	dir := t.TempDir()
	kernel := fullKernel(t)
	m := open(t, shortDir(t))
	disk := func(name string, mib int64) string { return diskImage(t, dir, name+".raw", mib) }
	g, err := m.Run(t.Context(), vm.Config{Machine: "pc", Boot: vm.Boot{Kernel: kernel, Initrd: "auto"}, Disks: []vm.Disk{
		{Path: disk("virtio", 5), Serial: "V-1"},
		{Path: disk("scsi", 6), Interface: "scsi", Serial: "S-1", ReadOnly: true},
		{Path: disk("nvme", 7), Interface: "nvme", Name: "quick"},
		{Path: disk("sata", 8), Interface: "sata", Serial: "A-1"},
		{Path: disk("ide", 9), Interface: "ide", Serial: "I-1"},
		{Path: disk("usb", 10), Interface: "usb", Serial: "U-1"},
		{Path: diskImage(t, dir, "idecd.iso", 1)},
		{Path: diskImage(t, dir, "satacd.iso", 2), Interface: "sata"},
		{Path: diskImage(t, dir, "scsicd.iso", 3), Interface: "scsi"},
		{Path: diskImage(t, dir, "usbcd.iso", 4), Interface: "usb"},
		{Media: vm.MediaCDROM, Interface: "scsi", Name: "tray"},
	}})
	require.NoError(t, err)
	seen := lookAtDisks(t, g, 10)
	for label, want := range map[string]struct {
		prefix, serial   string
		mib              int64
		readOnly, rotary bool
	}{
		"virtio": {"vd", "V-1", 5, false, true}, "scsi": {"sd", "S-1", 6, true, true}, "nvme": {"nvme", "quick", 7, false, false},
		"sata": {"sd", "A-1", 8, false, true}, "ide": {"sd", "I-1", 9, false, true}, "usb": {"sd", "U-1", 10, false, true},
		"idecd": {"sr", "", 1, true, true}, "satacd": {"sr", "", 2, true, true}, "scsicd": {"sr", "", 3, true, true}, "usbcd": {"sr", "", 4, true, true},
	} {
		got, ok := seen[label]
		require.True(t, ok, label)
		require.True(t, strings.HasPrefix(got.device, want.prefix), "%s is %s", label, got.device)
		require.Equal(t, want.mib, got.mib, label)
		require.Equal(t, want.rotary, got.rotary, label)
		if want.serial != "" {
			require.Equal(t, want.serial, got.serial, label)
			require.Equal(t, want.readOnly, got.readOnly, label)
		}
	}
	inGuest(t.Context(), t, g, "test $(ls -d /sys/block/sr* | wc -l) -eq 5")
	for _, label := range []string{"virtio", "nvme", "sata", "ide", "usb"} {
		inGuest(t.Context(), t, g, fmt.Sprintf("echo written on %s | dd of=/dev/%s seek=1 conv=fsync 2>/dev/null", label, seen[label].device))
	}
	for _, label := range []string{"scsi", "scsicd"} {
		_, err := g.Exec(t.Context(), "sh", "-c", "echo x | dd of=/dev/"+seen[label].device+" conv=fsync")
		require.Error(t, err, "%s is read-only", label)
	}
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	for _, label := range []string{"virtio", "nvme", "sata", "ide", "usb"} {
		data, err := os.ReadFile(filepath.Join(dir, label+".raw"))
		require.NoError(t, err)
		require.Equal(t, "written on "+label, string(data[512:512+len("written on "+label)]))
	}
}

// TestSATA: q35 has it built in, and that is where its CD-ROMs are.
func TestSATA(t *testing.T) {
	dir := t.TempDir()
	m := open(t, shortDir(t))
	g, err := m.Run(t.Context(), vm.Config{Machine: "q35", Boot: vm.Boot{Kernel: fullKernel(t), Initrd: "auto"}, Disks: []vm.Disk{
		{Path: diskImage(t, dir, "cd.iso", 2)}, {Path: diskImage(t, dir, "disk.raw", 5), Interface: "sata", Serial: "A,1"}}})
	require.NoError(t, err)
	seen := lookAtDisks(t, g, 2)
	require.Equal(t, seenDisk{device: "sda", serial: "A,1", mib: 5, rotary: true}, seen["disk"])
	require.Equal(t, "sr0", seen["cd"].device)
}

// TestDiskLife: disks of the default guest over a restart, throttled, and trimmed.
func TestDiskLife(t *testing.T) {
	dir, keep := t.TempDir(), true
	m := open(t, shortDir(t))
	trimmed := diskImage(t, dir, "trimmed.raw", 16)
	direct := vm.Disk{Path: diskImage(t, dir, "direct.raw", 8), Cache: vm.CacheNone, AIO: vm.AIONative, Discard: vm.DiscardIgnore}
	if f, err := os.OpenFile(direct.Path, os.O_RDWR|syscall.O_DIRECT, 0); err != nil { // in a tmpfs
		direct.Cache, direct.AIO = "", ""
	} else {
		require.NoError(t, f.Close())
	}
	g, err := m.Run(t.Context(), vm.Config{Machine: "q35", Boot: vm.Boot{Initrd: "auto"}, Disks: []vm.Disk{
		{Base: diskImage(t, dir, "kept.raw", 5), Keep: &keep, Cache: vm.CacheWriteThrough},
		{Base: diskImage(t, dir, "fleeting.raw", 6)},
		{Path: diskImage(t, dir, "slow.raw", 7), Throttle: vm.Throttle{Rate: 512 * vm.KiB}, Interface: "nvme"},
		{Path: trimmed, Interface: "scsi"},
		direct,
		{Path: diskImage(t, dir, "cd.iso", 1), Interface: "scsi"},
	}})
	require.NoError(t, err)
	seen := lookAtDisks(t, g, 6)
	cached := func(label string) string {
		return strings.TrimSpace(inGuest(t.Context(), t, g, "cat /sys/block/"+seen[label].device+"/queue/write_cache"))
	}
	require.Equal(t, "write through", cached("kept"))
	require.Equal(t, "write back", cached("fleeting"))

	t.Run("throttled", func(t *testing.T) {
		const mib = 3 // and a tenth of a second's worth at once
		read := func(label string) time.Duration {
			begun := time.Now()
			inGuest(t.Context(), t, g, fmt.Sprintf("dd if=/dev/%s of=/dev/null bs=64k count=%d iflag=direct 2>/dev/null", seen[label].device, mib*16))
			return time.Since(begun)
		}
		took := read("slow")
		require.Greater(t, took, 4*time.Second, "%d MiB at 0.5 MiB a second", mib)
		require.Less(t, read("direct"), took/2, "the others are not")
		t.Logf("%d MiB in %v", mib, took)
	})
	t.Run("trimmed", func(t *testing.T) {
		device := "/dev/" + seen["trimmed"].device
		inGuest(t.Context(), t, g, "dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' x | dd of="+device+" bs=1M seek=4 iflag=fullblock conv=fsync 2>/dev/null")
		full := blocks(t, trimmed)
		require.Greater(t, full, int64(7<<20))
		inGuest(t.Context(), t, g, "blkdiscard -o 4194304 -l 8388608 "+device)
		require.Less(t, blocks(t, trimmed), int64(2<<20))
	})
	for _, label := range []string{"kept", "fleeting"} {
		inGuest(t.Context(), t, g, "echo "+label+"again | dd of=/dev/"+seen[label].device+" conv=fsync 2>/dev/null")
	}
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	require.NoError(t, g.Start(t.Context()))
	again := lookAtDisks(t, g, 6)
	require.Contains(t, again, "keptagain", "what was written is kept")
	require.Contains(t, again, "fleeting", "what was written has vanished")
	require.Equal(t, seen["slow"], again["slow"])
	base, err := os.ReadFile(filepath.Join(dir, "kept.raw"))
	require.NoError(t, err)
	require.Equal(t, "kept\n", string(base[:5]), "a base is never written")
}

// blocks returns how many bytes a file takes on the host.
func blocks(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestMicrovmDisks: it has virtio, also for SCSI.
func TestMicrovmDisks(t *testing.T) {
	dir := t.TempDir()
	m := open(t, shortDir(t))
	g, err := m.Run(t.Context(), vm.Config{Machine: "microvm", Boot: vm.Boot{Initrd: "auto"}, Disks: []vm.Disk{
		{Path: diskImage(t, dir, "plain.raw", 5), Serial: "V-1"}, {Path: diskImage(t, dir, "scsi.raw", 6), Interface: "scsi", Serial: "S-1"},
		{Path: diskImage(t, dir, "cd.iso", 1)}}})
	require.NoError(t, err)
	seen := lookAtDisks(t, g, 3)
	require.Equal(t, seenDisk{device: "vda", serial: "V-1", mib: 5, rotary: true}, seen["plain"])
	require.Equal(t, seenDisk{device: "sda", serial: "S-1", mib: 6, rotary: true}, seen["scsi"])
	require.Equal(t, "sr0", seen["cd"].device)
}

// TestDeviceAsDisk: a block device of the host, which a guest then writes.
func TestDeviceAsDisk(t *testing.T) {
	dir := t.TempDir()
	image := diskImage(t, dir, "loop.raw", 5)
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		testhost.Lacks(t, "a loop device can't be had:", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { require.NoError(t, exec.Command("losetup", "--detach", device).Run()) })
	m := open(t, shortDir(t))
	g, err := m.Run(t.Context(), vm.Config{Boot: vm.Boot{Initrd: "auto"}, Disks: []vm.Disk{{Path: device, Format: "raw"}}})
	require.NoError(t, err)
	seen := lookAtDisks(t, g, 1)
	inGuest(t.Context(), t, g, "echo through | dd of=/dev/"+seen["loop"].device+" conv=fsync 2>/dev/null")
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	data, err := os.ReadFile(device)
	require.NoError(t, err)
	require.Equal(t, "through\n", string(data[:8]))
}
