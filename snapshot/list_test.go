package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
)

// listedVM is a VM that can only be listed: whoever lists reserves nothing, and asks no guest.
type listedVM struct {
	snapshot.VMs
	mu     sync.Mutex
	inst   vm.Instance
	images []vm.Image
	onGet  func()
}

func (v *listedVM) Get(_ context.Context, ref string) (vm.Instance, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.onGet != nil {
		v.onGet()
	}
	if ref != v.inst.ID && ref != v.inst.Name {
		return vm.Instance{}, errors.ErrVMNotFound
	}
	return v.inst, nil
}

func (v *listedVM) Snapshotter(vm.Instance) (vm.Snapshotter, error) { return nil, nil }

func (v *listedVM) Images(vm.Instance) []vm.Image { return v.images }

// shelf is a VM with real images, and what lists its snapshots.
type shelf struct {
	testing.TB
	*snapshot.Coordinator
	vm      *listedVM
	records snapshot.Records
	storage *storage.Manager
	dir     string
}

func newShelf(t testing.TB, disks ...string) *shelf {
	t.Helper()
	s := &shelf{TB: t, dir: t.TempDir(), records: memory.New(), vm: &listedVM{inst: vm.Instance{ID: "the-id", Name: "web", State: vm.Stopped}}}
	var err error
	s.storage, err = storage.NewManager(storage.Options{Root: s.dir})
	require.NoError(t, err)
	keeper, err := snapshot.NewKeeper(snapshot.KeeperOptions{Images: s.storage, Records: s.records})
	require.NoError(t, err)
	s.Coordinator, err = snapshot.New(snapshot.Options{Keeper: keeper, VMs: s.vm})
	require.NoError(t, err)
	for _, d := range disks {
		s.image(d, storage.CreateSpec{})
	}
	return s
}

// image makes the image of a disk of the VM, which is written.
func (s *shelf) image(disk string, spec storage.CreateSpec) string {
	s.Helper()
	spec.Path, spec.Size = s.path(disk), 1<<20
	img, err := s.storage.Create(s.Context(), spec)
	require.NoError(s, err)
	if spec.For.Kind != storage.KindMemory {
		s.vm.images = append(s.vm.images, vm.Image{Name: disk, Path: img.Path, Format: img.Format})
	}
	return img.Path
}

func (s *shelf) path(disk string) string { return filepath.Join(s.dir, disk+".img") }

// qemuImg runs qemu-img as somebody else would.
func (s *shelf) qemuImg(args ...string) {
	s.Helper()
	_, err := exec.LookPath("qemu-img")
	testhost.Needs(s, "qemu-img", err)
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	require.NoError(s, err, "%s", out)
}

// put records a snapshot of disks, and makes it in their images.
func (s *shelf) put(name string, created time.Time, change func(*snapshot.Record), disks ...string) {
	s.Helper()
	rec := snapshot.Record{VM: s.vm.inst.ID, Name: name, ID: "id of " + name, Kind: snapshot.Internal, Created: created}
	for _, d := range disks {
		rec.Disks = append(rec.Disks, snapshot.RecordDisk{Name: d, Path: s.path(d), Format: storage.FormatQcow2})
	}
	if change != nil {
		change(&rec)
	}
	require.NoError(s, s.records.PutSnapshot(s.Context(), rec))
	for _, d := range disks {
		if rec.Kind != snapshot.External {
			s.qemuImg("snapshot", "-c", name, s.path(d))
		}
	}
}

func (s *shelf) list() []snapshot.Snapshot {
	s.Helper()
	list, err := s.List(s.Context(), "web")
	require.NoError(s, err)
	return list
}

func (s *shelf) find(name string) snapshot.Snapshot {
	s.Helper()
	list := s.list()
	i := slices.IndexFunc(list, func(got snapshot.Snapshot) bool { return got.Name == name })
	require.GreaterOrEqual(s, i, 0, "%s in %v", name, list)
	return list[i]
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestListNothing(t *testing.T) {
	s := newShelf(t, "disk0")
	require.Empty(t, s.list())
	s.vm.images = append(s.vm.images, vm.Image{Name: "yet to be made", Path: s.path("none"), Format: "qcow2"},
		vm.Image{Name: "unplugged"}, vm.Image{Name: "cd", Path: "/no/such.iso", Format: "raw", ReadOnly: true})
	require.Empty(t, s.list())
	_, err := s.List(t.Context(), "who")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
}

// TestListStatus: what is recorded is compared with what is there, disk by disk.
func TestListStatus(t *testing.T) {
	s := newShelf(t, "a", "b")
	s.vm.inst.Snapshot = "later"
	s.put("later", day.Add(time.Hour), func(r *snapshot.Record) {
		r.Kind, r.Vmstate, r.Parent, r.Description = snapshot.Memory, "a", "first", "with memory"
		r.Size, r.VMClock = 123, time.Minute
	}, "a", "b")
	s.put("first", day, nil, "a", "b")
	list := s.list()
	require.Len(t, list, 2)
	require.Equal(t, snapshot.Snapshot{Name: "first", ID: "id of first", Kind: snapshot.Internal, Status: snapshot.OK, Created: day,
		Disks: []snapshot.Disk{{Name: "a", Path: s.path("a"), Present: true, ID: "2"}, {Name: "b", Path: s.path("b"), Present: true, ID: "2"}}}, list[0])
	require.Equal(t, snapshot.Snapshot{Name: "later", ID: "id of later", Kind: snapshot.Memory, Status: snapshot.OK, Created: day.Add(time.Hour),
		Description: "with memory", Parent: "first", Current: true, VMClock: time.Minute, Memory: true, Size: 123,
		Disks: []snapshot.Disk{{Name: "a", Path: s.path("a"), Present: true, ID: "1"}, {Name: "b", Path: s.path("b"), Present: true, ID: "1"}}}, list[1])

	s.qemuImg("snapshot", "-d", "first", s.path("b"))
	require.Equal(t, snapshot.Partial, s.find("first").Status)
	require.True(t, s.find("first").Disks[0].Present)
	require.False(t, s.find("first").Disks[1].Present)
	s.qemuImg("snapshot", "-d", "first", s.path("a"))
	require.Equal(t, snapshot.Missing, s.find("first").Status)
	require.NoError(t, os.Remove(s.path("b")))
	require.Equal(t, snapshot.Partial, s.find("later").Status)
	require.NoError(t, os.Remove(s.path("a")))
	require.Equal(t, snapshot.Missing, s.find("later").Status)
}

// TestListForeign: what somebody else made is shown, as far as it is there, and is no record's.
func TestListForeign(t *testing.T) {
	s := newShelf(t, "a", "b")
	s.put("ours", day, nil, "a", "b")
	s.qemuImg("snapshot", "-c", "theirs", s.path("a"))
	s.qemuImg("snapshot", "-c", "theirs", s.path("b"))
	s.qemuImg("snapshot", "-c", "half", s.path("b"))
	s.qemuImg("snapshot", "-c", "ours", s.path("b")) // QEMU does not mind two of a name
	list := s.list()
	require.Len(t, list, 4)
	require.Equal(t, "id of ours", list[0].ID)
	require.Equal(t, snapshot.OK, list[0].Status)
	for _, got := range list[1:] {
		require.Equal(t, snapshot.Foreign, got.Status)
		require.Equal(t, snapshot.Internal, got.Kind)
		require.Empty(t, got.ID)
		require.WithinDuration(t, time.Now(), got.Created, time.Minute)
	}
	byName := map[string][]snapshot.Disk{list[1].Name: list[1].Disks, list[2].Name: list[2].Disks, list[3].Name: list[3].Disks}
	require.Equal(t, map[string][]snapshot.Disk{
		"theirs": {{Name: "a", Path: s.path("a"), Present: true, ID: "2"}, {Name: "b", Path: s.path("b"), Present: true, ID: "2"}},
		"half":   {{Name: "a", Path: s.path("a")}, {Name: "b", Path: s.path("b"), Present: true, ID: "3"}},
		"ours":   {{Name: "a", Path: s.path("a")}, {Name: "b", Path: s.path("b"), Present: true, ID: "4"}},
	}, byName)
}

// TestListPending: what is not done is not shown as whole, and never as somebody else's.
func TestListPending(t *testing.T) {
	s := newShelf(t, "a")
	for pending, want := range map[snapshot.Pending]snapshot.Status{
		snapshot.Creating: snapshot.Unfinished, snapshot.Deleting: snapshot.Unfinished, snapshot.Committing: snapshot.Unfinished,
		snapshot.Streaming: snapshot.Unfinished, snapshot.Loading: snapshot.OK,
	} {
		s.put(string(pending), day, func(r *snapshot.Record) { r.Pending = pending }, "a")
		require.Equal(t, want, s.find(string(pending)).Status, pending)
		require.Equal(t, pending, s.find(string(pending)).Pending)
	}
	require.Len(t, s.list(), 5)
}

// TestListMeanwhile: an operation that begins and ends while the images are read leaves nothing
// in the list that is neither before nor after.
func TestListMeanwhile(t *testing.T) {
	s := newShelf(t, "a")
	s.put("kept", day, nil, "a")
	s.put("going", day, nil, "a")
	gets := 0
	s.vm.onGet = func() {
		switch gets++; gets {
		case 2: // records were read, images were not: one is made, another deleted
			s.put("made", day, nil, "a")
			s.qemuImg("snapshot", "-d", "going", s.path("a"))
			require.NoError(t, s.records.DropSnapshot(t.Context(), s.vm.inst.ID, "going"))
		}
	}
	list := s.list()
	require.Greater(t, gets, 2, "it looked only once")
	require.Len(t, list, 2)
	for _, got := range list {
		require.Equal(t, snapshot.OK, got.Status, got.Name)
	}
}

// TestListMemoryImage: the memory of a VM whose disks can't hold it is in an image of its own.
func TestListMemoryImage(t *testing.T) {
	s := newShelf(t)
	s.image("memory", storage.CreateSpec{For: storage.For{Owner: s.vm.inst.ID, Disk: "memory", Kind: storage.KindMemory}})
	s.put("ours", day, func(r *snapshot.Record) { r.Kind, r.Vmstate = snapshot.Memory, "memory" }, "memory")
	s.qemuImg("snapshot", "-c", "theirs", s.path("memory"))
	require.Equal(t, snapshot.OK, s.find("ours").Status)
	require.Equal(t, snapshot.Foreign, s.find("theirs").Status)
	require.Len(t, s.find("theirs").Disks, 1)
	s.image("a", storage.CreateSpec{})
	s.qemuImg("snapshot", "-c", "on a", s.path("a"))
	require.Len(t, s.find("on a").Disks, 1, "the memory's image is none of the disks")
}

// TestListExternal: an external snapshot is as whole as the images that it kept.
func TestListExternal(t *testing.T) {
	s := newShelf(t, "a", "b")
	s.qemuImg("snapshot", "-c", "within", s.path("a"))
	layers := []string{s.path("a1"), s.path("b1")}
	for i, base := range []string{"a", "b"} {
		img, err := s.storage.Overlay(t.Context(), storage.OverlaySpec{Path: layers[i], Base: s.path(base), BaseFormat: "qcow2"})
		require.NoError(t, err)
		s.vm.images[i].Path = img.Path
	}
	s.put("below", day, func(r *snapshot.Record) {
		r.Kind = snapshot.External
		r.Disks[0].Layer, r.Disks[1].Layer = layers[0], layers[1]
	}, "a", "b")
	got := s.find("below")
	require.Equal(t, snapshot.OK, got.Status)
	require.False(t, got.Memory)
	require.Positive(t, got.Size)
	require.Equal(t, []snapshot.Disk{{Name: "a", Path: s.path("a"), Present: true}, {Name: "b", Path: s.path("b"), Present: true}}, got.Disks)
	require.Equal(t, snapshot.Foreign, s.find("within").Status, "in an image that is not written now")
	require.NoError(t, os.Remove(s.path("b")))
	require.Equal(t, snapshot.Partial, s.find("below").Status)
}

func TestListErrors(t *testing.T) {
	s := newShelf(t, "a")
	require.NoError(t, os.WriteFile(s.path("a"), []byte("no image"), 0o600))
	_, err := s.List(t.Context(), "web")
	require.ErrorIs(t, err, errors.ErrStorage)
	require.ErrorContains(t, err, "web")
	s = newShelf(t, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.List(ctx, "web")
	require.ErrorIs(t, err, context.Canceled)
}

// fiftySnapshots makes 50 snapshots of two disks.
func fiftySnapshots(t testing.TB) *shelf {
	s := newShelf(t, "a", "b")
	for i := range 50 {
		s.put(fmt.Sprintf("snapshot %02d", i), day.Add(time.Duration(i)*time.Minute), nil, "a", "b")
	}
	return s
}

// TestListMany: none of many is lost, and they come in their order.
func TestListMany(t *testing.T) {
	s := fiftySnapshots(t)
	begun := time.Now()
	list := s.list()
	t.Log("50 snapshots of two disks listed in", time.Since(begun))
	require.Len(t, list, 50)
	for i, got := range list {
		require.Equal(t, fmt.Sprintf("snapshot %02d", i), got.Name)
		require.Equal(t, snapshot.OK, got.Status)
	}
}

func BenchmarkList(b *testing.B) {
	s := fiftySnapshots(b)
	for b.Loop() {
		require.Len(b, s.list(), 50)
	}
}
