//go:build cgo

package snapshot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/sqlite"
)

// offline is a VM that is not live, with two disks and some UEFI variables: one disk is the
// user's own, one was made for it. Nothing boots.
type offline struct {
	*snapshot.Coordinator
	keeper  *snapshot.Keeper
	storage *storage.Manager
	store   *sqlite.Store
	vms     *vm.Manager
	dir     string
	vm      vm.Instance
	disks   []string // images
	state   string   // file of the state
}

// offlineVM is the VM's name.
const offlineVM = "web"

// idle is a backend that no guest is started with.
type idle struct{ vm.Backend }

func (idle) Erase(context.Context, vm.Instance) error { return nil }

// offlineOptions are what tests change.
type offlineOptions struct {
	runner storage.Runner
	onStep func(ctx context.Context, step string)
}

// openOffline opens what is in dir; close closes it.
func openOffline(dir string, o offlineOptions) (w *offline, close func() error, err error) {
	w = &offline{dir: dir}
	w.store, err = sqlite.Open(context.Background(), filepath.Join(dir, "db"))
	if err != nil {
		return nil, nil, err
	}
	w.storage, err = storage.NewManager(storage.Options{Root: filepath.Join(dir, "images"), Registry: w.store, Runner: o.runner})
	if err == nil {
		w.keeper, err = snapshot.NewKeeper(snapshot.KeeperOptions{Images: w.storage, Records: w.store, OnStep: o.onStep})
	}
	if err == nil {
		w.vms, err = vm.NewManager(vm.Options{Store: w.store, Images: w.storage, Snapshots: w.keeper, Dir: dir,
			Booter: struct{ vm.Booter }{}, Backends: map[string]vm.Backend{vm.DefaultBackend: idle{}}})
	}
	if err == nil {
		w.Coordinator, err = snapshot.New(snapshot.Options{Keeper: w.keeper, VMs: w.vms})
	}
	if err != nil {
		return nil, nil, errors.Join(err, w.store.Close())
	}
	return w, func() error { return errors.Join(w.vms.Close(), w.store.Close()) }, nil
}

// newOffline makes the VM, below a folder of its own.
func newOffline(t testing.TB, disks ...vm.Disk) *offline {
	t.Helper()
	testhost.Needs(t, "qemu-img (package qemu-utils)", exec.Command("qemu-img", "--version").Run())
	dir := t.TempDir()
	w, closeIt, err := openOffline(dir, offlineOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeIt()) })
	if disks == nil {
		disks = []vm.Disk{{Path: filepath.Join(dir, "own, 'disk'.qcow2")}, {Size: 16 * vm.MiB}}
	}
	w.vm, err = w.vms.Add(t.Context(), vm.Config{Name: offlineVM, Lifetime: vm.Persistent, Disks: disks})
	require.NoError(t, err)
	w.find()
	for _, path := range w.disks {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		tool(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "16M")
	}
	return w
}

// again opens the VM a second time, as another process would.
func (w *offline) again(t testing.TB, o offlineOptions) *offline {
	t.Helper()
	other, closeIt, err := openOffline(w.dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeIt()) })
	other.vm = w.vm
	other.find()
	return other
}

// find finds the VM's files.
func (w *offline) find() {
	w.disks = nil
	for _, img := range w.vms.Images(w.vm) {
		w.disks = append(w.disks, img.Path)
	}
	w.state = filepath.Join(w.dir, "state", w.vm.ID, "tpm", "secret")
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	testhost.Needs(t, name+" (package qemu-utils)", err)
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, "%s %q: %s", name, args, out)
	return string(out)
}

// write has the VM hold a pattern everywhere: on both disks and in its state.
func (w *offline) write(t testing.TB, pattern int) {
	t.Helper()
	for _, path := range w.disks {
		tool(t, "qemu-io", "-f", "qcow2", "-c", fmt.Sprintf("write -q -P %d 0 64k", pattern),
			"-c", fmt.Sprintf("write -q -P %d %dM 64k", pattern, 1+pattern%15), path)
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(w.state), 0o700))
	require.NoError(t, os.WriteFile(w.state, []byte{byte(pattern)}, 0o600))
}

// holds returns the pattern that the VM holds everywhere.
func (w *offline) holds(t testing.TB) int {
	t.Helper()
	state, err := os.ReadFile(w.state)
	require.NoError(t, err)
	pattern := int(state[0])
	for _, path := range w.disks {
		out := tool(t, "qemu-io", "-f", "qcow2", "-r", "-c", fmt.Sprintf("read -q -P %d 0 64k", pattern),
			"-c", fmt.Sprintf("read -q -P %d %dM 64k", pattern, 1+pattern%15), path)
		require.Empty(t, out, "the state holds %d, the disk %s does not", pattern, path)
	}
	return pattern
}

// requireClean checks that nothing is left in the images and besides them but what belongs to
// these snapshots, and that List says so.
func (w *offline) requireClean(t testing.TB, names ...string) {
	t.Helper()
	list, err := w.List(t.Context(), offlineVM)
	require.NoError(t, err)
	listed := []string{}
	for _, s := range list {
		listed = append(listed, s.Name)
		require.Equal(t, snapshot.OK, s.Status, "%+v", s)
		require.Empty(t, s.Pending)
	}
	require.ElementsMatch(t, names, listed)
	for _, path := range w.disks {
		table, err := w.storage.Snapshots(t.Context(), path)
		require.NoError(t, err)
		held := []string{}
		for _, s := range table {
			held = append(held, s.Name)
		}
		require.ElementsMatch(t, names, held, path)
		var found struct{ Leaks, Corruptions int }
		require.NoError(t, json.Unmarshal([]byte(tool(t, "qemu-img", "check", "--output=json", "-f", "qcow2", path)), &found))
		require.Zero(t, found, path)
	}
	copies, err := filepath.Glob(filepath.Join(w.dir, "state", w.vm.ID+".snapshots", "*"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(copies), len(names), copies)
	require.False(t, slices.ContainsFunc(copies, func(p string) bool { return strings.HasSuffix(p, ".part") || strings.Contains(p, "undo") }), copies)
}

func (w *offline) instance(t testing.TB) vm.Instance {
	t.Helper()
	inst, err := w.vms.Get(t.Context(), offlineVM)
	require.NoError(t, err)
	return inst
}

func (w *offline) create(t testing.TB, name string, opts ...snapshot.Option) snapshot.Snapshot {
	t.Helper()
	s, err := w.Create(t.Context(), offlineVM, name, opts...)
	require.NoError(t, err)
	return s
}

// TestOffline: create, load, list and delete on all disks of a VM as one unit.
func TestOffline(t *testing.T) {
	w := newOffline(t)
	w.write(t, 1)
	first := w.create(t, "first", snapshot.Describe("before"))
	require.Equal(t, snapshot.Internal, first.Kind)
	require.Equal(t, "before", first.Description)
	require.True(t, first.Current)
	require.Len(t, first.Disks, 2)
	w.write(t, 2)
	second := w.create(t, "second")
	require.Equal(t, "first", second.Parent)
	w.write(t, 3)
	w.requireClean(t, "first", "second")

	require.NoError(t, w.Load(t.Context(), offlineVM, "first"))
	require.Equal(t, 1, w.holds(t))
	require.Equal(t, "first", w.instance(t).Snapshot)
	w.write(t, 4)
	require.Equal(t, "first", w.create(t, "third").Parent)
	require.NoError(t, w.Load(t.Context(), offlineVM, "second"))
	require.Equal(t, 2, w.holds(t))
	w.requireClean(t, "first", "second", "third")

	require.NoError(t, w.Delete(t.Context(), offlineVM, "first"))
	require.Equal(t, 2, w.holds(t), "what it is now stays")
	list, err := w.List(t.Context(), offlineVM)
	require.NoError(t, err)
	for _, s := range list {
		require.Empty(t, s.Parent, "children are its parent's")
	}
	require.NoError(t, w.Load(t.Context(), offlineVM, "third"))
	require.Equal(t, 4, w.holds(t))
	require.NoError(t, w.Delete(t.Context(), offlineVM, "third"))
	require.Empty(t, w.instance(t).Snapshot)
	require.NoError(t, w.Delete(t.Context(), offlineVM, "second"))
	w.requireClean(t)
	require.NoDirExists(t, filepath.Join(w.dir, "state", w.vm.ID+".snapshots"))
}

// TestOfflineState: a snapshot brings back what the VM remembered besides its disks, also if
// that was nothing, for this user only; it goes with the VM.
func TestOfflineState(t *testing.T) {
	w := newOffline(t)
	w.create(t, "new")
	w.write(t, 1)
	w.create(t, "used")
	require.NoError(t, w.Load(t.Context(), offlineVM, "new"))
	require.NoDirExists(t, filepath.Join(w.dir, "state", w.vm.ID))
	require.NoError(t, w.Load(t.Context(), offlineVM, "used"))
	require.Equal(t, 1, w.holds(t))
	for path, mode := range map[string]os.FileMode{w.state: 0o600, filepath.Dir(w.state): 0o700 | os.ModeDir, filepath.Dir(filepath.Dir(w.state)): 0o700 | os.ModeDir} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), path)
	}
	require.NoError(t, w.vms.Remove(t.Context(), offlineVM))
	left, err := filepath.Glob(filepath.Join(w.dir, "state", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	records, err := w.store.Snapshots(t.Context(), w.vm.ID)
	require.NoError(t, err)
	require.Empty(t, records)
}

// TestOfflineNames: names as odd as they may be work, others are refused before anything is done.
func TestOfflineNames(t *testing.T) {
	w := newOffline(t)
	w.write(t, 1)
	good := []string{"-d", "--help", "a b", "'\"", `\`, "a,b=c", "日本語", "1.0", strings.Repeat("ä", 127) + "x"}
	for _, name := range good {
		w.create(t, name)
		require.NoError(t, w.Load(t.Context(), offlineVM, name), name)
		_, err := w.Create(t.Context(), offlineVM, name)
		require.ErrorIs(t, err, errors.ErrSnapshotExists)
	}
	w.requireClean(t, good...)
	for _, name := range good {
		require.NoError(t, w.Delete(t.Context(), offlineVM, name), name)
	}
	for _, name := range []string{"", "42", strings.Repeat("x", 256), "a\nb", "\xff", "maqet-undo-x"} {
		_, err := w.Create(t.Context(), offlineVM, name)
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration, "%q", name)
	}
	w.requireClean(t)
}
