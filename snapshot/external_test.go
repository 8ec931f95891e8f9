package snapshot_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// twoDisks is a VM with a qcow2 disk that maqet makes and a raw one of the user's.
func (h *house) twoDisks(name string, lifetime vm.Lifetime) (vm.Config, string) {
	h.t.Helper()
	h.t.Cleanup(func() { _, _ = h.vms.Stop(context.Background(), name, vm.Force()) })
	raw := filepath.Join(h.t.TempDir(), "user.raw")
	require.NoError(h.t, os.WriteFile(raw, nil, 0o600))
	require.NoError(h.t, os.Truncate(raw, 32<<20))
	return vm.Config{Name: name, Memory: 256 * vm.MiB, Lifetime: lifetime, Boot: vm.Boot{Kernel: "auto"}, Disks: []vm.Disk{
		{Name: "made", Size: 32 * vm.MiB}, {Name: "own", Path: raw, Throttle: vm.Throttle{IOPS: 100000}}}}, raw
}

// write has the guest write a text to the start of both disks, and to another place of each.
func (h *house) write(ref, text string) {
	h.t.Helper()
	h.sh(ref, `for d in vda vdb; do for at in 0 3; do printf '%-16s' "`+text+` $d" | dd of=/dev/$d bs=1M seek=$at conv=fsync,notrunc 2>/dev/null || exit 1; done; done; sync; echo 3 > /proc/sys/vm/drop_caches`)
}

// reads requires that both disks have that text.
func (h *house) reads(ref, text string) {
	h.t.Helper()
	got := h.sh(ref, `echo 3 > /proc/sys/vm/drop_caches; for d in vda vdb; do for at in 0 3; do dd if=/dev/$d bs=1M skip=$at count=1 2>/dev/null | head -c 16 | tr -d '\0'; done; done`)
	want := ""
	for _, d := range []string{"vda", "vda", "vdb", "vdb"} {
		want += (text + " " + d + strings.Repeat(" ", 16))[:16]
	}
	require.Equal(h.t, want, got)
}

// checked requires that qemu-img finds nothing wrong with any image of the VM that is not live.
func (h *house) checked(id string) {
	h.t.Helper()
	paths, err := filepath.Glob(filepath.Join(h.dir, "images", id, "*.qcow2"))
	require.NoError(h.t, err)
	for _, path := range paths {
		out, err := exec.Command("qemu-img", "check", "-f", "qcow2", path).CombinedOutput()
		require.NoError(h.t, err, "%s: %s", path, out)
	}
}

// layers returns how many files of layers there are.
func (h *house) layers(id string) int {
	h.t.Helper()
	paths, err := filepath.Glob(filepath.Join(h.dir, "images", id, "layer-*"))
	require.NoError(h.t, err)
	return len(paths)
}

func (h *house) get(ref string) vm.Instance {
	h.t.Helper()
	inst, err := h.vms.Get(h.t.Context(), ref)
	require.NoError(h.t, err)
	return inst
}

func (h *house) stop(ref string) {
	h.t.Helper()
	_, err := h.vms.Stop(soon(h.t), ref)
	require.NoError(h.t, err)
}

func (h *house) freeze(name string, opts ...snapshot.Option) {
	h.t.Helper()
	_, err := h.snaps.Create(soon(h.t), "box", name, append(opts, snapshot.DiskOnly())...)
	require.NoError(h.t, err)
}

func (h *house) ready() {
	h.t.Helper()
	h.sh("box", "true")
}

// TestExternal goes through the life of external snapshots of one guest.
func TestExternal(t *testing.T) {
	h := newHouse(t)
	cfg, raw := h.twoDisks("box", vm.Persistent)
	inst := h.boot(cfg)
	h.write("box", "zero")
	h.freeze("one")
	h.write("box", "a")
	h.freeze("two")
	h.write("box", "b")
	require.Equal(t, []string{"one", "two"}, h.names("box"))
	require.Equal(t, 4, h.layers(inst.ID))
	data, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.Equal(t, "zero vdb", strings.TrimSpace(string(data[:16])), "the user's image is as it was")
	require.Equal(t, h.get("box").Layers[0].Path, h.get("box").Runtime.Disks[0].Path)

	t.Run("restart", func(t *testing.T) {
		h.stop("box")
		h.checked(inst.ID)
		h.start("box")
		h.reads("box", "b")
	})
	t.Run("delete the first, live", func(t *testing.T) {
		require.NoError(t, h.snaps.Delete(soon(t), "box", "one"))
		h.reads("box", "b")
		require.Equal(t, []string{"two"}, h.names("box"))
		require.Equal(t, 2, h.layers(inst.ID))
		h.write("box", "c")
	})
	t.Run("load, live", func(t *testing.T) {
		require.NoError(t, h.snaps.Load(soon(t), "box", "two"))
		h.reads("box", "a")
		require.Equal(t, vm.Running, h.get("box").State)
		h.write("box", "d")
	})
	t.Run("branch", func(t *testing.T) {
		h.freeze("three")
		h.write("box", "e")
		require.NoError(t, h.snaps.Load(soon(t), "box", "two"))
		h.reads("box", "a")
		require.Equal(t, []string{"two", "three"}, h.names("box"))
		err := h.snaps.Delete(soon(t), "box", "two")
		require.ErrorContains(t, err, "three")
		require.NoError(t, h.snaps.Load(soon(t), "box", "three"))
		h.reads("box", "d")
		h.stop("box")
		require.NoError(t, h.snaps.Load(soon(t), "box", "two"))
		h.checked(inst.ID)
		h.start("box")
		h.reads("box", "a")
		require.NoError(t, h.snaps.Delete(soon(t), "box", "three"))
		require.Equal(t, []string{"two"}, h.names("box"))
		h.write("box", "f")
	})
	t.Run("commit, live", func(t *testing.T) {
		h.freeze("four")
		h.write("box", "g")
		require.NoError(t, h.snaps.Commit(soon(t), "box", "two"))
		require.Empty(t, h.names("box"))
		require.Empty(t, h.get("box").Layers)
		require.Zero(t, h.layers(inst.ID))
		h.reads("box", "g")
		require.Equal(t, vm.Running, h.get("box").State)
		h.write("box", "h")
		h.stop("box")
		h.checked(inst.ID)
		h.start("box")
		h.reads("box", "h")
	})
	t.Run("stream, live", func(t *testing.T) {
		h.freeze("five")
		h.write("box", "i")
		require.NoError(t, h.snaps.Stream(soon(t), "box", "five"))
		h.reads("box", "i")
		require.Empty(t, h.names("box"))
		require.Len(t, h.get("box").Layers, 2)
		require.FileExists(t, raw)
		require.NoFileExists(t, filepath.Join(h.dir, "images", inst.ID, "made.qcow2"))
		h.stop("box")
		h.checked(inst.ID)
		h.start("box")
		h.reads("box", "i")
	})
	t.Run("offline", func(t *testing.T) {
		h.freeze("six")
		h.write("box", "j")
		h.freeze("seven")
		h.write("box", "k")
		h.stop("box")
		require.NoError(t, h.snaps.Delete(soon(t), "box", "six"))
		require.Equal(t, []string{"seven"}, h.names("box"))
		h.checked(inst.ID)
		h.start("box")
		h.reads("box", "k")
		h.freeze("eight")
		h.write("box", "l")
		h.stop("box")
		require.NoError(t, h.snaps.Stream(soon(t), "box", "seven"))
		require.NoError(t, h.snaps.Commit(soon(t), "box", "eight"))
		require.Empty(t, h.names("box"))
		h.checked(inst.ID)
		h.start("box")
		h.reads("box", "l")
	})
	t.Run("drop", func(t *testing.T) {
		before := h.get("box").Layers
		h.freeze("nine")
		h.write("box", "m")
		require.NoError(t, h.snaps.Drop(soon(t), "box", "nine"))
		h.reads("box", "l")
		require.Empty(t, h.names("box"))
		require.Equal(t, before, h.get("box").Layers)
	})
	h.stop("box")
	h.checked(inst.ID)
}
