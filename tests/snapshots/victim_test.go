package snapshots_test

import (
	"bytes"
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

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// victim is the name of the VM. It has two disks: one that maqet makes, and one that the
// user brought.
const victim = "victim"

const (
	diskSize = 16 << 20
	spotSize = 64 << 10
)

// generations are those that tests write: 1, 2 and so on, each later than the one before.
const generations = 9

// spotsOf are where a generation is written on each disk: at its begin, its end, and between,
// over the one before; and in a place of its own.
func spotsOf(generation int) []int64 {
	return []int64{0, 5 << 20, 10<<20 + spotSize, diskSize - spotSize, ownSpot(generation)}
}

func ownSpot(generation int) int64 { return 1<<20 + int64(generation)*4*spotSize }

// diskNames are those of the victim's disks.
var diskNames = []string{"made", "brought"}

func victimConfig(dir string) vm.Config {
	return vm.Config{
		Name: victim, Lifetime: vm.Persistent, Memory: 128 * vm.MiB,
		Disks: []vm.Disk{{Name: diskNames[0], Size: diskSize}, {Name: diskNames[1], Path: broughtPath(dir)}},
	}
}

func broughtPath(dir string) string { return filepath.Join(dir, "brought.qcow2") }

// patient is the victim as the next process finds it.
type patient struct {
	t   *testing.T
	dir string
	m   *maqet.Maqet
}

func openVictim(t *testing.T, dir string) *patient {
	t.Helper()
	m, err := maqet.New(maqet.WithDir(dir))
	require.NoError(t, err)
	return &patient{t, dir, m}
}

func (p *patient) close() {
	p.t.Helper()
	require.NoError(p.t, p.m.Close())
}

func (p *patient) ctx() context.Context { return p.t.Context() }

func (p *patient) instance() vm.Instance {
	p.t.Helper()
	inst, err := p.m.VM.Get(p.ctx(), victim)
	require.NoError(p.t, err)
	return inst
}

func (p *patient) live() bool { return p.instance().State.Live() }

// start starts the guest without letting its CPUs run: what is on its disks stays as it is.
func (p *patient) start() {
	p.t.Helper()
	_, err := p.m.VM.Start(p.ctx(), victim, vm.StartPaused())
	require.NoError(p.t, err)
}

func (p *patient) stop() {
	p.t.Helper()
	_, err := p.m.VM.Stop(p.ctx(), victim, vm.Force())
	require.NoError(p.t, err)
}

// attached is a disk of a live guest as query-block shows it.
type attached struct {
	Qdev     string
	Inserted *struct {
		Image struct{ Filename string }
	}
}

// blocks are the disks of the live guest.
func (p *patient) blocks() map[string]attached {
	p.t.Helper()
	list, err := qmp.Call[[]attached](p.ctx(), p.m.QMP, victim, "query-block", nil)
	require.NoError(p.t, err)
	found := map[string]attached{}
	for _, b := range list {
		for _, name := range diskNames {
			if strings.Contains(b.Qdev, "/"+name+"/") || b.Qdev == name {
				found[name] = b
			}
		}
	}
	require.Len(p.t, found, len(diskNames), "%+v", list)
	return found
}

// paths are the images that the disks are written in.
func (p *patient) paths() map[string]string {
	p.t.Helper()
	paths := map[string]string{}
	inst := p.instance()
	if inst.State.Live() {
		for name, b := range p.blocks() {
			paths[name] = b.Inserted.Image.Filename
		}
		return paths
	}
	paths[diskNames[0]] = filepath.Join(p.dir, "images", inst.ID, diskNames[0]+".qcow2")
	paths[diskNames[1]] = broughtPath(p.dir)
	for _, l := range inst.Layers {
		paths[l.Disk] = l.Path
	}
	return paths
}

// monitor has the live guest's human monitor do something.
func (p *patient) monitor(line string) string {
	p.t.Helper()
	out, err := p.m.QMP.HMP(qmp.AllowDangerous(p.ctx()), victim, line)
	require.NoError(p.t, err)
	return out
}

// write writes a generation on both disks, as the guest would, and into the memory of its
// clock if it is live.
func (p *patient) write(generation int) {
	p.t.Helper()
	if p.live() {
		for _, b := range p.blocks() {
			for _, at := range spotsOf(generation) {
				p.monitor(fmt.Sprintf("qemu-io -d %s \"write -P %d %d %d\"", b.Qdev, generation, at, spotSize))
			}
			p.monitor(fmt.Sprintf("qemu-io -d %s flush", b.Qdev))
		}
		for _, line := range memoryLines(generation) {
			p.monitor(line)
		}
		require.Equal(p.t, generation, p.memory())
		return
	}
	for _, path := range p.paths() {
		args := []string{"-f", "qcow2"}
		for _, at := range spotsOf(generation) {
			args = append(args, "-c", fmt.Sprintf("write -P %d %d %d", generation, at, spotSize))
		}
		out, err := exec.Command("qemu-io", append(args, path)...).CombinedOutput()
		require.NoError(p.t, err, "%s", out)
	}
}

// clockByte is a byte of the clock's memory that firmware leaves alone.
const clockByte = 0x60

// memoryLines have the human monitor put a generation into the memory.
func memoryLines(generation int) []string {
	return []string{fmt.Sprintf("o /b 0x70 %d", clockByte), fmt.Sprintf("o /b 0x71 %d", generation)}
}

// memory returns the generation in the memory of the live guest.
func (p *patient) memory() int {
	p.t.Helper()
	p.monitor(fmt.Sprintf("o /b 0x70 %d", clockByte))
	var port, value int
	_, err := fmt.Sscanf(strings.TrimSpace(p.monitor("i /b 0x71")), "portb[0x%x] = 0x%x", &port, &value)
	require.NoError(p.t, err)
	return value
}

// present returns the generation that is on both disks.
func (p *patient) present() int {
	p.t.Helper()
	live := p.live()
	generation := -1
	for name, path := range p.paths() {
		if live {
			p.monitor(fmt.Sprintf("qemu-io -d %s flush", p.blocks()[name].Qdev))
		}
		got := generationOf(p.t, path)
		if generation == -1 {
			generation = got
		}
		require.Equal(p.t, generation, got, "the disks are of one moment")
	}
	return generation
}

// generationOf returns the generation that a disk holds, after it has compared all of it.
func generationOf(t *testing.T, path string) int {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	out, err := exec.Command("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", path, raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.NoError(t, os.Remove(raw))
	require.Len(t, data, diskSize)
	generation := int(data[0])
	want := make([]byte, diskSize)
	fill := func(at int64, with int) { copy(want[at:], bytes.Repeat([]byte{byte(with)}, spotSize)) }
	for _, at := range spotsOf(generation) {
		fill(at, generation)
	}
	for earlier := 1; earlier < generation; earlier++ {
		if at := ownSpot(earlier); data[at] != 0 { // it was there, or was given up
			fill(at, earlier)
		}
	}
	require.True(t, generation <= generations && bytes.Equal(want, data), "%s is of one moment", path)
	return generation
}

// list returns the snapshots by name. All must be whole.
func (p *patient) list() map[string]snapshot.Snapshot {
	p.t.Helper()
	list, err := p.m.Snapshot.List(p.ctx(), victim)
	require.NoError(p.t, err)
	found := map[string]snapshot.Snapshot{}
	for _, s := range list {
		require.Equal(p.t, snapshot.OK, s.Status, "%+v", s)
		require.NotContains(p.t, found, s.Name)
		for _, d := range s.Disks {
			require.True(p.t, d.Present, "%+v", s)
		}
		found[s.Name] = s
	}
	return found
}

// info is what qemu-img tells of an image.
type info struct {
	Snapshots []struct{ ID, Name string }
}

// held returns the internal snapshots that each image really holds.
func (p *patient) held() map[string][]string {
	p.t.Helper()
	held := map[string][]string{}
	for _, path := range p.images() {
		out, err := exec.Command("qemu-img", "info", "-U", "--output=json", "-f", "qcow2", path).Output()
		require.NoError(p.t, err)
		var i info
		require.NoError(p.t, json.Unmarshal(out, &i))
		held[path] = nil
		for _, s := range i.Snapshots {
			held[path] = append(held[path], s.Name)
		}
	}
	return held
}

// images are all that are there, of the VM and of the user.
func (p *patient) images() []string {
	p.t.Helper()
	paths := []string{broughtPath(p.dir)}
	err := filepath.WalkDir(filepath.Join(p.dir, "images"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	require.NoError(p.t, err)
	return paths
}

// requireTruth compares the list with the images: each internal snapshot that is listed is on
// all disks, and each one that an image holds is listed.
func (p *patient) requireTruth() {
	p.t.Helper()
	listed := p.list()
	held := p.held()
	for path, names := range held {
		for _, name := range names {
			require.Contains(p.t, listed, name, "%s holds it", path)
		}
		require.Len(p.t, slices.Compact(slices.Sorted(slices.Values(names))), len(names), "names are unique: %q", names)
	}
	for _, s := range listed {
		if s.Kind == snapshot.External {
			continue
		}
		require.NotEmpty(p.t, s.Disks)
		for _, d := range s.Disks {
			require.Contains(p.t, held[d.Path], s.Name)
		}
	}
}
