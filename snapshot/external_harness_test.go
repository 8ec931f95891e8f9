package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// layered is a VM called "box" with a qcow2 disk that maqet makes and a raw one of the user's,
// which has a file system.
type layered struct {
	*house
	raw string
	id  string
}

// layeredConfig is its configuration.
func layeredConfig(raw string) vm.Config {
	return vm.Config{Name: "box", Memory: 256 * vm.MiB, Lifetime: vm.Persistent, Boot: vm.Boot{Kernel: "auto"}, Disks: []vm.Disk{
		{Name: "made", Size: 32 * vm.MiB}, {Name: "own", Path: raw, Throttle: vm.Throttle{IOPS: 100000}}}}
}

func newLayered(t *testing.T, change func(*vm.Config)) *layered {
	t.Helper()
	l := &layered{house: newHouse(t), raw: filepath.Join(t.TempDir(), "user.raw")}
	require.NoError(t, os.WriteFile(l.raw, nil, 0o600))
	require.NoError(t, os.Truncate(l.raw, 32<<20))
	_, err := exec.LookPath("mkfs.ext4")
	testhost.Needs(t, "mkfs.ext4 (e2fsprogs)", err)
	out, err := exec.Command("mkfs.ext4", "-q", "-F", l.raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	cfg := layeredConfig(l.raw)
	if change != nil {
		change(&cfg)
	}
	inst, err := l.vms.Add(t.Context(), cfg)
	require.NoError(t, err)
	l.id = inst.ID
	t.Cleanup(func() { _, _ = l.vms.Stop(context.Background(), l.id, vm.Force()) })
	return l
}

// up starts the VM and mounts the file system.
func (l *layered) up() {
	l.t.Helper()
	l.start("box")
	l.mount()
}

func (l *layered) mount() { l.t.Helper(); l.sh("box", "mkdir -p /mnt && mount -t ext4 /dev/vdb /mnt") }

// down has the guest's system stop it.
func (l *layered) down() {
	l.t.Helper()
	_, err := l.vms.Stop(soon(l.t), "box")
	require.NoError(l.t, err)
	l.checked()
}

// write has the guest write a text to both disks, and to the end of the first.
func (l *layered) write(text string) {
	l.t.Helper()
	l.sh("box", fmt.Sprintf(`for at in 0 31; do printf '%%-16s' '%s' | dd of=/dev/vda bs=1M seek=$at conv=fsync,notrunc 2>/dev/null || exit 1; done
		echo '%[1]s' > /mnt/mark && sync`, text))
}

// reads requires that the guest reads that text from its disks.
func (l *layered) reads(text string) {
	l.t.Helper()
	got := l.sh("box", `grep -q ' /mnt ' /proc/mounts || { mkdir -p /mnt && mount -t ext4 /dev/vdb /mnt; }; sync; echo 3 > /proc/sys/vm/drop_caches
		for at in 0 31; do dd if=/dev/vda bs=1M skip=$at count=1 2>/dev/null | head -c 16; done; cat /mnt/mark`)
	require.Equal(l.t, strings.Repeat(fmt.Sprintf("%-16s", text), 2)+text, got)
}

// checked requires that qemu-img finds nothing wrong with any image of the VM, which is not live.
func (l *layered) checked() {
	l.t.Helper()
	paths, err := filepath.Glob(filepath.Join(l.dir, "images", l.id, "*.qcow2"))
	require.NoError(l.t, err)
	for _, path := range paths {
		out, err := exec.Command("qemu-img", "check", "-f", "qcow2", path).CombinedOutput()
		require.NoError(l.t, err, "%s: %s", path, out)
	}
}

// files returns how many files of layers there are.
func (l *layered) files() int {
	l.t.Helper()
	paths, err := filepath.Glob(filepath.Join(l.dir, "images", l.id, "layer-*"))
	require.NoError(l.t, err)
	return len(paths)
}

func (l *layered) get() vm.Instance {
	l.t.Helper()
	inst, err := l.vms.Get(l.t.Context(), "box")
	require.NoError(l.t, err)
	return inst
}

// list requires that the VM has these snapshots and all are whole.
func (l *layered) list(want ...string) {
	l.t.Helper()
	require.ElementsMatch(l.t, want, l.names("box"))
}

func (l *layered) create(ctx context.Context, name string, opts ...snapshot.Option) error {
	_, err := l.snaps.Create(ctx, "box", name, append(opts, snapshot.DiskOnly())...)
	return err
}

func (l *layered) made(name string) { l.t.Helper(); require.NoError(l.t, l.create(soon(l.t), name)) }

// poke writes a pattern to both disks without the guest's system, live or not.
func (l *layered) poke(pattern int) {
	l.t.Helper()
	command := fmt.Sprintf("write -P %d 1M 192k", pattern)
	if l.monitor(command) {
		l.monitor("flush")
		return
	}
	require.NotContains(l.t, l.test("-f", command), "failed")
}

// peek requires it.
func (l *layered) peek(pattern int) { l.t.Helper(); require.True(l.t, l.holds(pattern), pattern) }

// holds reports whether both disks have the pattern, in the images that are recorded.
func (l *layered) holds(pattern int) bool {
	l.t.Helper()
	l.monitor("flush")
	out := l.test("-rUf", fmt.Sprintf("read -P %d 1M 192k", pattern))
	require.Equal(l.t, 2, strings.Count(out, "bytes at offset"), out)
	return !strings.Contains(out, "failed")
}

// monitor has a live QEMU run a command of its test program, qemu-io, on both disks. What it
// prints is lost. It reports false when the VM is not live.
func (l *layered) monitor(command string) bool {
	l.t.Helper()
	guest, err := l.vms.Live(l.t.Context(), l.id)
	if err != nil {
		require.ErrorIs(l.t, err, errors.ErrVMNotRunning)
		return false
	}
	for _, disk := range []string{"made", "own"} {
		_, err := guest.QMP().Execute(l.t.Context(), "human-monitor-command",
			map[string]string{"command-line": fmt.Sprintf(`qemu-io -d /machine/peripheral/%s/virtio-backend "%s"`, disk, command)})
		require.NoError(l.t, err)
	}
	return true
}

// test runs qemu-io on the images of both disks, and returns what it prints: that a pattern is
// not what it should be as well.
func (l *layered) test(flags, command string) (out string) {
	l.t.Helper()
	for _, img := range l.vms.Images(l.get()) {
		text, err := exec.Command("qemu-io", flags, img.Format, "-c", command, img.Path).CombinedOutput()
		if err != nil && !strings.Contains(string(text), "failed") {
			require.NoError(l.t, err, "%s", text)
		}
		out += string(text)
	}
	return out
}

// names returns the names of a VM's snapshots, which must be whole.
func (h *house) names(ref string) (names []string) {
	h.t.Helper()
	list, err := h.snaps.List(h.t.Context(), ref)
	require.NoError(h.t, err)
	for _, s := range list {
		require.Equal(h.t, snapshot.OK, s.Status, "%+v", s)
		names = append(names, s.Name)
	}
	return names
}
