package snapshot_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
)

// keepsItself is a backend that keeps snapshots by its own means, and starts no guest.
type keepsItself struct {
	vm.Backend
	mu       sync.Mutex
	snaps    []vm.BackendSnapshot
	layers   []vm.Layer
	blockers []vm.SnapshotBlocker
	asked    []vm.SnapshotSpec // of SnapshotBlockers
	did      []string
	restore  []string     // of Launch
	fails    error        // of CreateSnapshot
	saving   func()       // called by CreateSnapshot
	lost     func() error // of everything, if not nil
}

func (k *keepsItself) do(what string) error {
	k.did = append(k.did, what)
	if k.lost != nil {
		return k.lost()
	}
	return nil
}

func (k *keepsItself) index(name string) int {
	return slices.IndexFunc(k.snaps, func(s vm.BackendSnapshot) bool { return s.Name == name })
}

func (k *keepsItself) stand(name string) {
	for i := range k.snaps {
		k.snaps[i].Current = k.snaps[i].Name == name
	}
}

func (k *keepsItself) SnapshotBlockers(_ context.Context, _ vm.Instance, act vm.SnapshotAct, spec vm.SnapshotSpec) ([]vm.SnapshotBlocker, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, spec)
	there := k.index(spec.Name) >= 0
	switch {
	case act == vm.CreatingSnapshot && there:
		return nil, errors.Wrap(errors.ErrSnapshotExists, "create", "", errors.New("it is there"))
	case act != vm.CreatingSnapshot && !there:
		return nil, errors.Wrap(errors.ErrSnapshotNotFound, "find", "", errors.New("it is not there"))
	}
	return k.blockers, nil
}

func (k *keepsItself) CreateSnapshot(_ context.Context, _ vm.Instance, spec vm.SnapshotSpec) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.do("create " + spec.Name); err != nil {
		return err
	}
	if k.saving != nil {
		k.saving()
	}
	if k.fails != nil {
		return k.fails
	}
	k.snaps = append(k.snaps, vm.BackendSnapshot{Name: spec.Name, Description: spec.Description, Created: time.Now().Truncate(time.Second)})
	k.stand(spec.Name)
	return nil
}

func (k *keepsItself) LoadSnapshot(_ context.Context, _ vm.Instance, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stand(name)
	return k.do("load " + name)
}

func (k *keepsItself) DeleteSnapshot(_ context.Context, _ vm.Instance, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.do("delete " + name); err != nil {
		return err
	}
	k.snaps = slices.DeleteFunc(k.snaps, func(s vm.BackendSnapshot) bool { return s.Name == name })
	return nil
}

func (k *keepsItself) ListSnapshots(context.Context, vm.Instance) ([]vm.BackendSnapshot, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.snaps), nil
}

func (k *keepsItself) SnapshotLayers(context.Context, vm.Instance) ([]vm.Layer, error) {
	return k.layers, nil
}

func (k *keepsItself) Check(context.Context, string, vm.Config) error        { return nil }
func (k *keepsItself) Clean(context.Context, vm.Instance) error              { return nil }
func (k *keepsItself) Timeouts(_ context.Context, cfg vm.Config) vm.Timeouts { return cfg.Timeouts }
func (k *keepsItself) Launch(_ context.Context, s vm.LaunchSpec) (vm.Guest, error) {
	k.restore = append(k.restore, s.Restore)
	return nil, errors.New("nothing is started here")
}

// anyBoot boots nothing.
type anyBoot struct{}

func (anyBoot) ResolveBoot(context.Context, vm.Config) (vm.BootFiles, error) {
	return vm.BootFiles{}, nil
}

// kept is a VM of such a backend.
type kept struct {
	*snapshot.Coordinator
	*keepsItself
	vms   *vm.Manager
	store *memory.Store
	vm    vm.Instance
}

func newKept(t *testing.T) *kept {
	t.Helper()
	k := &kept{keepsItself: &keepsItself{}, store: memory.New()}
	s := newShelf(t)
	keeper, err := snapshot.NewKeeper(snapshot.KeeperOptions{Images: s.storage, Records: k.store})
	require.NoError(t, err)
	k.vms, err = vm.NewManager(vm.Options{Store: k.store, Images: s.storage, Snapshots: keeper, Booter: anyBoot{}, Dir: t.TempDir(),
		Backends: map[string]vm.Backend{"far": k.keepsItself}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.vms.Close()) })
	k.Coordinator, err = snapshot.New(snapshot.Options{Keeper: keeper, VMs: k.vms})
	require.NoError(t, err)
	k.vm, err = k.vms.Add(t.Context(), vm.Config{Name: "web", Backend: "far", Lifetime: vm.Persistent})
	require.NoError(t, err)
	return k
}

func (k *kept) record(t *testing.T) vm.Instance {
	t.Helper()
	inst, err := k.vms.Get(t.Context(), "web")
	require.NoError(t, err)
	return inst
}

func TestSnapshotsOfBackend(t *testing.T) {
	k := newKept(t)
	k.layers = []vm.Layer{{Disk: "disk0", Path: "/far/layer.qcow2"}}
	snap, err := k.Create(t.Context(), "web", "one", snapshot.Describe("first"))
	require.NoError(t, err)
	require.Equal(t, snapshot.OK, snap.Status)
	require.Equal(t, "first", snap.Description)
	require.NotEmpty(t, snap.ID)
	require.True(t, snap.Current)
	require.Equal(t, "one", k.record(t).Snapshot)
	require.Equal(t, k.layers, k.record(t).Layers)

	k.snaps = append(k.snaps, vm.BackendSnapshot{Name: "theirs", Created: time.Now(), Memory: true, Parent: "one",
		Disks: []vm.BackendSnapshotDisk{{Name: "disk0", Path: "/far/a"}}})
	list, err := k.List(t.Context(), "web")
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, snapshot.Snapshot{Name: "theirs", Kind: snapshot.Memory, Status: snapshot.Foreign, Created: k.snaps[1].Created, Parent: "one",
		Memory: true, Disks: []snapshot.Disk{{Name: "disk0", Path: "/far/a", Present: true}}}, list[1])

	require.NoError(t, k.Load(t.Context(), "web", "theirs"))
	require.Equal(t, "theirs", k.record(t).Restore, "the next start continues from the memory")
	require.NoError(t, k.Delete(t.Context(), "web", "theirs"))
	require.Empty(t, k.record(t).Restore)
	require.Equal(t, []string{"create one", "load theirs", "delete theirs"}, k.did)

	k.snaps = nil // somebody deleted it
	list, err = k.List(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, snapshot.Missing, list[0].Status)
	require.NoError(t, k.Delete(t.Context(), "web", "one"))
	require.ErrorIs(t, k.Delete(t.Context(), "web", "one"), errors.ErrSnapshotNotFound)
	require.ErrorIs(t, k.Load(t.Context(), "web", "one"), errors.ErrSnapshotNotFound)
}

func TestBlockersOfBackend(t *testing.T) {
	k := newKept(t)
	_, err := k.Create(t.Context(), "web", "one")
	require.NoError(t, err)
	k.blockers = []vm.SnapshotBlocker{{Device: "disk0", Reason: "is raw", Fix: "convert it"}}
	want := []snapshot.Blocker{{Device: "disk0", Reason: "is raw", Fix: "convert it"}}
	_, err = k.Create(t.Context(), "web", "two")
	var blocked *snapshot.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.Equal(t, want, blocked.Blockers)
	require.ErrorIs(t, k.Load(t.Context(), "web", "one", snapshot.ColdBoot()), errors.ErrSnapshotBlocked)
	require.True(t, k.asked[len(k.asked)-1].NoMemory)
	require.ErrorIs(t, k.Delete(t.Context(), "web", "one"), errors.ErrSnapshotBlocked)
	found, err := k.Blockers(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, want, found)
	found, err = k.LoadBlockers(t.Context(), "web", "one")
	require.NoError(t, err)
	require.Equal(t, want, found)
	_, err = k.Create(t.Context(), "web", "one")
	require.ErrorIs(t, err, errors.ErrSnapshotExists)
	require.Equal(t, []string{"create one"}, k.did)
}

func TestWhatABackendHasNot(t *testing.T) {
	k := newKept(t)
	for name, call := range map[string]func() error{
		"commit": func() error { return k.Commit(t.Context(), "web", "one") },
		"stream": func() error { return k.Stream(t.Context(), "web", "one") },
		"drop":   func() error { return k.Drop(t.Context(), "web", "one") },
		"backup": func() error { _, err := k.Backup(t.Context(), "web", t.TempDir()); return err },
		"forget": func() error { return k.ForgetBackups(t.Context(), "web") },
	} {
		err := call()
		require.ErrorIs(t, err, errors.ErrSnapshotBlocked, name)
		require.ErrorContains(t, err, "backend far", name)
	}
	r, err := k.vms.Reserve(t.Context(), "web")
	require.NoError(t, err, "nothing is left locked")
	r.Release()
}

// A start that fails after a load leaves the disks loaded, as one that was not asked for would.
func TestLoadOfBackendThatDoesNotStart(t *testing.T) {
	k := newKept(t)
	k.snaps = []vm.BackendSnapshot{{Name: "mem", Memory: true}, {Name: "disks"}}
	for i, name := range []string{"mem", "disks"} {
		var failed *errors.StartError
		require.ErrorAs(t, k.Load(t.Context(), "web", name, snapshot.ThenRun()), &failed)
		require.Equal(t, name, k.record(t).Snapshot)
		require.Equal(t, []string{"load mem", "load disks"}[:i+1], k.did)
	}
	require.Equal(t, []string{"mem", ""}, k.restore)
	require.NoError(t, k.Load(t.Context(), "web", "mem"))
	_, err := k.vms.Start(t.Context(), "web", vm.ColdBoot())
	require.Error(t, err)
	require.Empty(t, k.restore[2])
}

func TestSnapshotOfBackendThatFails(t *testing.T) {
	k := newKept(t)
	k.fails = errors.New("no space left")
	_, err := k.Create(t.Context(), "web", "one")
	require.ErrorIs(t, err, errors.ErrSnapshotCreation)
	require.ErrorIs(t, err, k.fails)
	require.Equal(t, []string{"create one", "delete one"}, k.did)
	k.requireNone(t)

	k.fails = nil
	ctx, cancel := context.WithCancel(t.Context())
	k.saving = cancel
	_, err = k.Create(ctx, "web", "one")
	require.ErrorIs(t, err, context.Canceled)
	k.saving = nil
	r, err := k.vms.Reserve(t.Context(), "web") // it is undone in the background
	require.NoError(t, err)
	r.Release()
	k.requireNone(t)
}

func (k *kept) requireNone(t *testing.T) {
	t.Helper()
	list, err := k.List(t.Context(), "web")
	require.NoError(t, err)
	require.Empty(t, list)
}

// While the host is out of reach nobody knows what became of a snapshot: the next operation looks.
func TestSnapshotOfBackendOutOfReach(t *testing.T) {
	for name, made := range map[string]bool{"made": true, "not made": false} {
		t.Run(name, func(t *testing.T) {
			k := newKept(t)
			k.lost = func() error { return errors.Wrap(errors.ErrHostUnreachable, "call", "", errors.New("gone")) }
			_, err := k.Create(t.Context(), "web", "one")
			require.ErrorIs(t, err, errors.ErrHostUnreachable)
			list, err := k.List(t.Context(), "web")
			require.NoError(t, err)
			require.Equal(t, snapshot.Unfinished, list[0].Status)

			k.lost, k.did = nil, nil
			if made {
				k.snaps = []vm.BackendSnapshot{{Name: "one", Created: time.Now(), Current: true}}
			}
			_, err = k.Create(t.Context(), "web", "two")
			require.NoError(t, err)
			list, err = k.List(t.Context(), "web")
			require.NoError(t, err)
			if made {
				require.Equal(t, snapshot.OK, list[0].Status)
				require.Len(t, list, 2)
				return
			}
			require.Len(t, list, 1)
			require.Equal(t, []string{"delete one", "create two"}, k.did)
		})
	}
}
