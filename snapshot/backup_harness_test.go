package snapshot_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
	"github.com/maqet/maqet/vm/sqlite"
)

// bench is a VM with disks of the user's own, and what works on it.
type bench struct {
	*snapshot.Coordinator
	t      testing.TB
	dir    string
	vms    *vm.Manager
	guests *guest.Manager
	id     string
	disks  map[string]string // paths by name
	ice    *ice              // nil: the guest's agent
	onStep func(ctx context.Context, step string)
}

// newBench adds a VM that has these disks, each a qcow2 or raw image of 8 MiB.
func newBench(t testing.TB, formats map[string]string, tune ...func(*bench, *vm.Config)) *bench {
	t.Helper()
	for _, program := range []string{"qemu-img", "qemu-io", "qemu-storage-daemon", "qemu-system-x86_64"} {
		_, err := exec.LookPath(program)
		testhost.Needs(t, program+" (make setup installs it)", err)
	}
	dir, err := os.MkdirTemp("", "mq-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	b := &bench{t: t, dir: dir, disks: map[string]string{}}
	b.open()
	b.add(formats, tune)
	return b
}

// open works on the bench's folder, as another process would.
func (b *bench) open() {
	t, dir := b.t, b.dir
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "maqet.db"))
	require.NoError(t, err)
	images, err := storage.NewManager(storage.Options{Root: filepath.Join(dir, "images"), Registry: store})
	require.NoError(t, err)
	keeper, err := snapshot.NewKeeper(snapshot.KeeperOptions{Images: images, Records: store, OnStep: func(ctx context.Context, step string) {
		if b.onStep != nil {
			b.onStep(ctx, step)
		}
	}})
	require.NoError(t, err)
	backend, err := process.New(process.Options{RuntimeDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "vms"), CacheDir: filepath.Join(dir, "cache")})
	require.NoError(t, err)
	b.vms, err = vm.NewManager(vm.Options{Store: store, Images: images, Snapshots: keeper, Dir: dir,
		Backends: map[string]vm.Backend{vm.DefaultBackend: backend}, Booter: guest.NewBooter(guest.BooterOptions{CacheDir: filepath.Join(dir, "cache")})})
	require.NoError(t, err)
	b.guests = guest.NewManager(b.vms)
	t.Cleanup(func() {
		if inst, err := b.vms.Get(context.Background(), b.id); err == nil && inst.State.Live() {
			_, err := b.vms.Stop(context.Background(), b.id, vm.Force())
			require.NoError(t, err)
		}
		require.NoError(t, b.guests.Close())
		require.NoError(t, b.vms.Close())
		require.NoError(t, backend.Close())
		require.NoError(t, store.Close())
	})
	b.Coordinator, err = snapshot.New(snapshot.Options{Keeper: keeper, VMs: b.vms, Freezer: b})
	require.NoError(t, err)
}

// Freeze and Thaw make a bench a Freezer.
func (b *bench) Freeze(ctx context.Context, ref string) (int, error) {
	if b.ice != nil {
		return 1, b.ice.call("freeze")
	}
	return b.guests.Freeze(ctx, ref)
}

func (b *bench) Thaw(ctx context.Context, ref string) error {
	if b.ice != nil {
		return b.ice.call("thaw")
	}
	return b.guests.Thaw(ctx, ref)
}

func (b *bench) add(formats map[string]string, tune []func(*bench, *vm.Config)) {
	cfg := vm.Config{Lifetime: vm.Persistent, Boot: vm.Boot{Kernel: "auto"}}
	for _, name := range []string{"root", "data", "plain"} {
		format, wanted := formats[name]
		if !wanted {
			continue
		}
		b.disks[name] = filepath.Join(b.dir, name+"."+format)
		b.image("create", "-q", "-f", format, b.disks[name], "8M")
		cfg.Disks = append(cfg.Disks, vm.Disk{Name: name, Path: b.disks[name], Format: format})
	}
	for _, fn := range tune {
		fn(b, &cfg)
	}
	inst, err := b.vms.Add(b.t.Context(), cfg)
	require.NoError(b.t, err)
	b.id = inst.ID
}

func (b *bench) image(args ...string) string {
	b.t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	require.NoError(b.t, err, "qemu-img %v: %s", args, out)
	return string(out)
}

// write writes to a disk of a VM that is not live, as a guest would: bitmaps record it.
func (b *bench) write(disk, where string, pattern int) {
	b.t.Helper()
	b.io(disk, fmt.Sprintf("write -P %d %s", pattern, where))
}

// io runs a command of qemu-io(1).
func (b *bench) io(disk, command string) {
	b.t.Helper()
	path := b.disks[disk]
	out, err := exec.Command("qemu-io", "-f", filepath.Ext(path)[1:], "-c", command, path).CombinedOutput()
	require.NoError(b.t, err, "%s", out)
}

// content returns what a disk of a VM that is not live holds, as a digest.
func (b *bench) content(path string) string {
	b.t.Helper()
	raw := filepath.Join(b.t.TempDir(), "raw")
	b.image("convert", "-O", "raw", path, raw)
	defer os.Remove(raw)
	return digestOf(b.t, raw)
}

// contents returns what all disks hold.
func (b *bench) contents() map[string]string {
	b.t.Helper()
	all := map[string]string{}
	for name, path := range b.disks {
		all[name] = b.content(path)
	}
	return all
}

func digestOf(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	require.NoError(t, err)
	return hex.EncodeToString(hash.Sum(nil))
}

// restored returns what a generation holds, by restoring it.
func restored(t testing.TB, dir string, number int, format string) map[string]string {
	t.Helper()
	to := t.TempDir()
	paths, err := snapshot.RestoreBackup(patience(t), dir, snapshot.RestoreSpec{Number: number, Dir: to, Format: format})
	require.NoError(t, err)
	all := map[string]string{}
	for name, path := range paths {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		raw := path
		if format != vm.FormatRaw {
			raw = filepath.Join(to, name+".copy")
			out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
		all[name] = digestOf(t, raw)
	}
	return all
}

// patience is a context that tells a hang from a slow machine.
func patience(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// files returns the names in a folder.
func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// bitmaps returns the names of the bitmaps in an image.
func (b *bench) bitmaps(disk string) string {
	return b.image("info", "-U", "--output=json", b.disks[disk])
}
