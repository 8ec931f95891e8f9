package snapshot_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// fullKernel is one with drivers for NVMe and for both kinds of shares.
func fullKernel(t *testing.T) string {
	t.Helper()
	cache, err := kernel.DefaultCacheDir()
	require.NoError(t, err)
	found, err := filepath.Glob(filepath.Join(cache, "kernels-full", "x86_64", "*", "boot", "vmlinuz-*"))
	require.NoError(t, err)
	if len(found) == 0 {
		testhost.Lacks(t, "no kernel with all drivers: scripts/setup.sh --test gets one")
	}
	return found[len(found)-1]
}

// emptyRaw makes a raw image.
func emptyRaw(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 8<<20))
	return path
}

// blockedDevices are those that blockers name, "" for none in particular. Each must say what to do.
func blockedDevices(t *testing.T, list []snapshot.Blocker) (names []string) {
	t.Helper()
	for _, b := range list {
		require.NotEmpty(t, b.Reason)
		require.NotEmpty(t, b.Fix)
		names = append(names, b.Device)
	}
	slices.Sort(names)
	return names
}

// TestBlockersLive: all that keeps a guest from being saved is named at once, before anything is
// done; what does not is not named. Without memory only disks matter.
func TestBlockersLive(t *testing.T) {
	h := newHouse(t)
	dir := t.TempDir()
	stranger, err := json.Marshal(map[string]any{"driver": "file", "node-name": "elsewhere", "filename": emptyRaw(t, dir, "stranger.raw")})
	require.NoError(t, err)
	inst := h.boot(vm.Config{Name: "box", Memory: 512 * vm.MiB, Boot: vm.Boot{Kernel: fullKernel(t), Initrd: "auto"},
		Disks: []vm.Disk{{Name: "good", Size: 8 * vm.MiB}, {Name: "raw", Path: emptyRaw(t, dir, "a.raw")},
			{Name: "read-only", Path: emptyRaw(t, dir, "b.raw"), ReadOnly: true}, {Name: "fast", Size: 8 * vm.MiB, Interface: vm.InterfaceNVMe}},
		Shares: []vm.Share{{Name: "plan9", Path: dir, Type: vm.Share9p}, {Name: "fs", Path: dir, Type: vm.ShareVirtiofs}},
		Args:   []string{"-blockdev", string(stranger), "-device", `{"driver":"virtio-blk-pci","id":"stranger","drive":"elsewhere"}`},
	})
	blockers := func(opts ...snapshot.Option) []snapshot.Blocker {
		t.Helper()
		list, err := h.snaps.Blockers(soon(t), "box", opts...)
		require.NoError(t, err)
		return list
	}
	list := blockers()
	require.Equal(t, []string{"", "fast", "fs", "plan9", "raw", "stranger"}, blockedDevices(t, list), "%v", list)
	require.Contains(t, list[slices.IndexFunc(list, func(b snapshot.Blocker) bool { return b.Device == "" })].Reason, `QEMU says: "`)
	require.Contains(t, list[slices.IndexFunc(list, func(b snapshot.Blocker) bool { return b.Device == "plan9" })].Reason, "mounted in the guest")
	require.Empty(t, blockers(snapshot.DiskOnly()))

	_, err = h.snaps.Create(soon(t), "box", "first")
	require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
	var blocked *snapshot.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.Equal(t, list, blocked.Blockers)
	for _, b := range list {
		require.ErrorContains(t, err, b.Device)
		require.ErrorContains(t, err, b.Fix)
	}
	shown, err := h.snaps.List(soon(t), "box")
	require.NoError(t, err)
	require.Empty(t, shown)
	require.Equal(t, vm.Running, get(t, h, inst.ID).State)

	h.sh("box", "umount /mnt/plan9")
	require.Equal(t, []string{"", "fast", "fs", "raw", "stranger"}, blockedDevices(t, blockers()))
	h.sh("box", "mkdir -p '/mnt/a b'; mount -t 9p -o trans=virtio plan9 '/mnt/a b'")
	require.Equal(t, []string{"", "fast", "fs", "plan9", "raw", "stranger"}, blockedDevices(t, blockers()))

	m := qmp.NewManager(h.vms)
	require.NoError(t, m.Pause(soon(t), "box"))
	_, err = h.vms.Wait(soon(t), "box", vm.Paused)
	require.NoError(t, err)
	list = blockers()
	require.Contains(t, list[slices.IndexFunc(list, func(b snapshot.Blocker) bool { return b.Device == "plan9" })].Reason, "may be mounted")

	_, err = h.snaps.Blockers(soon(t), "box", snapshot.ColdBoot())
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	_, err = h.snaps.Blockers(soon(t), "nobody")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
}

func get(t *testing.T, h *house, ref string) vm.Instance {
	t.Helper()
	inst, err := h.vms.Get(t.Context(), ref)
	require.NoError(t, err)
	return inst
}

// TestBlockersUnmounted: a 9p share that is not mounted blocks nothing.
func TestBlockersUnmounted(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "box", Boot: vm.Boot{Kernel: fullKernel(t), Initrd: "auto"}, Shares: []vm.Share{{Name: "plan9", Path: t.TempDir(), Type: vm.Share9p}}})
	_, err := h.snaps.Create(soon(t), "box", "first")
	require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
	h.sh("box", "umount /mnt/plan9; echo one > /tmp/file")
	s, err := h.snaps.Create(soon(t), "box", "first")
	require.NoError(t, err)
	require.Equal(t, snapshot.OK, s.Status)
	require.True(t, s.Memory && s.Current)
	require.Positive(t, s.Size)
	h.sh("box", "echo two > /tmp/file")
	require.NoError(t, h.snaps.Load(soon(t), "box", "first"))
	require.Equal(t, "one", h.sh("box", "cat /tmp/file"))
}

// smallFolder mounts a file system of that many KiB.
func smallFolder(t *testing.T, kib string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.Mkdir(dir, 0o700))
	testhost.Needs(t, "mounting a small tmpfs", unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size="+kib+"k,mode=0700"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// TestBlockersFull: a file system that the memory would not fit on is named, and one that it
// would fit on is not, though the VM could have more.
func TestBlockersFull(t *testing.T) {
	h := newHouse(t)
	dir := smallFolder(t, "409600")
	path := filepath.Join(dir, "disk.qcow2")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "16M").CombinedOutput()
	require.NoError(t, err, "%s", out)
	h.boot(vm.Config{Name: "box", Memory: vm.GiB, Boot: vm.Boot{Kernel: "auto", Initrd: "auto"}, Disks: []vm.Disk{{Path: path}}})
	list, err := h.snaps.Blockers(soon(t), "box")
	require.NoError(t, err)
	require.Empty(t, list, "the guest has used less than it could")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 380<<20), 0o600))
	list, err = h.snaps.Blockers(soon(t), "box")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Contains(t, list[0].Reason, dir)
	_, err = h.snaps.Create(soon(t), "box", "first")
	require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
	list, err = h.snaps.Blockers(soon(t), "box", snapshot.DiskOnly())
	require.NoError(t, err)
	require.Empty(t, list, "layers are elsewhere")
}

// TestBlockersNotLive: each disk that can't hold a snapshot is named, and who uses it.
func TestBlockersNotLive(t *testing.T) {
	s := newShelf(t, "good", "used")
	blockers := func(opts ...snapshot.Option) []snapshot.Blocker {
		t.Helper()
		list, err := s.Blockers(t.Context(), "web", opts...)
		require.NoError(t, err)
		return list
	}
	require.Empty(t, blockers())
	s.vm.images = append(s.vm.images, vm.Image{Name: "raw", Path: emptyRaw(t, s.dir, "raw.img"), Format: storage.FormatRaw},
		vm.Image{Name: "read-only", Path: "/no/such.iso", Format: storage.FormatRaw, ReadOnly: true}, vm.Image{Name: "empty"},
		vm.Image{Name: "new", Path: s.path("new"), Format: storage.FormatQcow2, Owned: true},
		vm.Image{Name: "lost", Path: s.path("lost"), Format: storage.FormatQcow2},
		vm.Image{Name: "passing", Path: s.path("passing"), Format: storage.FormatQcow2, Owned: true, Ephemeral: true})
	use(t, s.path("used"))
	list := blockers()
	require.Equal(t, []string{"lost", "new", "raw", "used"}, blockedDevices(t, list))
	for _, b := range list {
		require.Contains(t, b.Reason, map[string]string{"lost": "does not exist", "new": "has no image yet", "raw": "is raw", "used": "qemu-io (PID "}[b.Device])
	}
	s.vm.inst.State = vm.Starting
	require.Contains(t, blockers()[0].Reason, "starting")
	s.vm.inst.State = vm.Stopped
	s.vm.images = s.vm.images[len(s.vm.images)-1:]
	require.Contains(t, blockers()[0].Reason, "no disk")

	s = newShelf(t)
	dir := smallFolder(t, "1024")
	s.dir = dir
	path := filepath.Join(dir, "disk.img")
	s.qemuImg("create", "-q", "-f", "qcow2", path, "1M")
	s.vm.images = append(s.vm.images, vm.Image{Name: "disk", Path: path, Format: storage.FormatQcow2})
	require.Empty(t, blockers())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 512<<10), 0o600))
	require.Contains(t, blockers()[0].Reason, dir)
}

// use has a qemu-io open an image until the test ends.
func use(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command("qemu-io", "-f", "qcow2", path)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	})
	_, err = in.Write([]byte("length\n"))
	require.NoError(t, err)
	lines := bufio.NewScanner(out)
	done := make(chan bool, 1)
	go func() { done <- lines.Scan() && lines.Err() == nil }()
	select {
	case ok := <-done:
		require.True(t, ok)
	case <-time.After(time.Minute):
		t.Fatal("qemu-io does not open the image")
	}
}

func TestBlockedError(t *testing.T) {
	err := &snapshot.BlockedError{Op: `create snapshot "a"`, VM: "web", Blockers: []snapshot.Blocker{
		{Device: "data", Reason: "is raw", Fix: "convert it"}, {Reason: "no space", Fix: "make some"}}}
	require.Equal(t, `create snapshot "a": VM web: blocked: data is raw (convert it); no space (make some)`, err.Error())
	require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
	require.False(t, strings.HasSuffix(err.Error(), "\n"))
}

// requireBlocked checks that an error names these devices, and that nothing was done.
func requireBlocked(t *testing.T, err error, devices ...string) {
	t.Helper()
	require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
	var blocked *snapshot.BlockedError
	require.ErrorAs(t, err, &blocked)
	var named []string
	for _, b := range blocked.Blockers {
		named = append(named, b.Device)
		require.NotEmpty(t, b.Reason)
		require.NotEmpty(t, b.Fix)
	}
	require.Equal(t, devices, named, err)
}
