package process

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// everyDisk is one of each kind, and of each way to read and write it.
func everyDisk() vm.Config {
	return vm.Config{Name: "golden", Disks: []vm.Disk{
		{Name: "plain", Size: vm.MiB},
		{Name: "limited", Size: vm.MiB, Throttle: vm.Throttle{IOPS: 100, ReadRate: vm.MiB, WriteRate: 2 * vm.MiB}, BootOrder: 2},
		{Name: "direct", Path: "a.raw", Cache: vm.CacheNone, AIO: vm.AIONative, Discard: vm.DiscardIgnore},
		{Name: "careful", Path: "b.qcow2", Interface: "scsi", Cache: vm.CacheDirectSync, Serial: "S,1", BootOrder: 1},
		{Name: "through", Path: "c.raw", Interface: "nvme", Cache: vm.CacheWriteThrough},
		{Name: "stick", Path: "d.raw", Interface: "usb", ReadOnly: true, Cache: vm.CacheUnsafe},
		{Name: "sata", Size: vm.MiB, Interface: "sata"},
		{Name: "cd", Path: "e.iso"},
		{Name: "usbcd", Path: "f.iso", Interface: "usb"},
		{Name: "tray", Media: vm.MediaCDROM, Interface: "scsi"},
	}}
}

func TestDisksArgv(t *testing.T) {
	cfg := everyDisk()
	require.NoError(t, cfg.Validate())
	golden(t, "every-disk", vm.LaunchSpec{ID: fixedID, Config: cfg, Images: imagesOf(cfg)})
}

// realImages makes the images of cfg's disks.
func realImages(t *testing.T, dir string, cfg vm.Config) (images []vm.Image) {
	t.Helper()
	m, err := storage.NewManager(storage.Options{Root: dir})
	require.NoError(t, err)
	for _, img := range imagesOf(cfg) {
		if img.Path != "" {
			img.Path = filepath.Join(dir, img.Name)
			_, err := m.Create(t.Context(), storage.CreateSpec{Path: img.Path, Format: img.Format, Size: 1 << 20})
			require.NoError(t, err)
		}
		images = append(images, img)
	}
	return images
}

// TestMachinesTakeDisks starts each machine with all disks that it can have, and asks it
// what it made of them.
func TestMachinesTakeDisks(t *testing.T) {
	for _, c := range []struct {
		arch, machine string
		cpu           string // empty: the default
		without       []string
		more          []vm.Disk
	}{
		{arch: "x86_64", machine: "q35"},
		{arch: "x86_64", machine: "pc", more: []vm.Disk{{Name: "ide", Size: vm.MiB, Interface: "ide"}}},
		{arch: "x86_64", machine: "microvm", without: []string{"through", "stick", "sata", "usbcd"}},
		{arch: "aarch64", machine: "virt"},
		{arch: "riscv64", machine: "virt", cpu: "rv64"},
	} {
		t.Run(c.arch+" "+c.machine, func(t *testing.T) {
			_, err := exec.LookPath("qemu-system-" + c.arch)
			testhost.Needs(t, "QEMU for "+c.arch, err)
			h := newHouse(t)
			cfg := everyDisk()
			cfg.Arch, cfg.Machine, cfg.CPU.Model = c.arch, c.machine, c.cpu
			all := cfg.Disks
			cfg.Disks = c.more
			for _, d := range all {
				if !slices.Contains(c.without, d.Name) {
					cfg.Disks = append(cfg.Disks, d)
				}
			}
			if !directIO(h.dir) {
				for i := range cfg.Disks {
					cfg.Disks[i].Cache, cfg.Disks[i].AIO = "", ""
				}
			}
			spec := specOf(cfg)
			spec.Images = realImages(t, filepath.Join(h.dir, "images"), cfg)
			g := h.launch(spec)
			require.NoError(t, g.Connect(patient(t)))
			requireDisks(t, g, spec)
		})
	}
}

// directIO reports whether files in dir can bypass the host's cache; in a tmpfs they can't.
func directIO(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, "direct"), os.O_CREATE|os.O_RDWR|syscall.O_DIRECT, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// blockNode is a part of query-named-block-nodes' answer.
type blockNode struct {
	Name     string `json:"node-name"`
	Driver   string `json:"drv"`
	File     string
	ReadOnly bool `json:"ro"`
	Cache    struct {
		Direct  bool
		NoFlush bool `json:"no-flush"`
	}
}

func nodesOf(t *testing.T, g vm.Guest) map[string]blockNode {
	t.Helper()
	nodes := map[string]blockNode{}
	for _, n := range ask[[]blockNode](t, g, "query-named-block-nodes", map[string]bool{"flat": true}) {
		nodes[n.Name] = n
	}
	return nodes
}

func requireDisks(t *testing.T, g vm.Guest, spec vm.LaunchSpec) {
	t.Helper()
	nodes := nodesOf(t, g)
	property := func(id, name string) (v any) {
		raw, err := g.QMP().Execute(t.Context(), "qom-get", map[string]string{"path": "/machine/peripheral/" + id, "property": name})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &v))
		return v
	}
	for i, d := range spec.Config.Disks {
		img := spec.Images[i]
		if d.BootOrder > 0 {
			require.EqualValues(t, d.BootOrder, property(d.Name, "bootindex"), d.Name)
		}
		if d.Serial != "" {
			require.Equal(t, d.Serial, property(d.Name, "serial"))
		}
		if img.Path == "" {
			require.NotContains(t, nodes, d.Name)
			continue
		}
		node, ok := nodes[d.Name]
		require.True(t, ok, d.Name)
		require.Equal(t, img.Format, node.Driver)
		require.Equal(t, img.Path, nodes[d.Name+"-file"].File)
		require.Equal(t, d.IsReadOnly(), node.ReadOnly)
		require.Equal(t, d.Cache == vm.CacheNone || d.Cache == vm.CacheDirectSync, node.Cache.Direct, d.Name)
		require.Equal(t, d.Cache == vm.CacheUnsafe || d.Cache == "" && img.Ephemeral, node.Cache.NoFlush, d.Name)
		_, limited := nodes[d.Name+"-limit"]
		require.Equal(t, d.Throttle != vm.Throttle{}, limited)
		if d.Interface != "usb" { // whose disk is inside of the device
			require.Equal(t, map[bool]string{true: d.Name + "-limit", false: d.Name}[limited], property(d.Name, "drive"))
		}
	}
	limits := ask[map[string]int64](t, g, "qom-get", map[string]string{"path": "/objects/limited-limit", "property": "limits"})
	require.EqualValues(t, 100, limits["iops-total"])
	require.EqualValues(t, 1<<20, limits["bps-read"])
	require.EqualValues(t, 2<<20, limits["bps-write"])
}

// TestThrottledNodes: snapshots and overlays are made of the node with the disk's name,
// the filter stays on top of a new overlay, and an unplugged disk leaves nothing behind.
func TestThrottledNodes(t *testing.T) {
	h := newHouse(t)
	cfg := vm.Config{Name: "nodes", Disks: []vm.Disk{
		{Name: "data", Path: "data.qcow2", Interface: "scsi", Throttle: vm.Throttle{Rate: vm.MiB}}}}
	spec := specOf(cfg)
	spec.Images = realImages(t, filepath.Join(h.dir, "images"), cfg)
	g := h.launch(spec)
	require.NoError(t, g.Connect(patient(t)))
	run := func(command string, args map[string]any) { ask[any](t, g, command, args) }

	run("snapshot-save", map[string]any{"job-id": "save", "tag": "one", "vmstate": "data", "devices": []string{"data"}})
	concluded(t, g, "save")
	over := filepath.Join(h.dir, "images", "over")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", over, "1M").CombinedOutput()
	require.NoError(t, err, "%s", out)
	run("blockdev-add", map[string]any{"driver": "qcow2", "node-name": "over", "backing": nil, "file": map[string]any{"driver": "file", "filename": over}})
	run("blockdev-snapshot", map[string]any{"node": "data", "overlay": "over"})
	require.Equal(t, "data-limit", ask[string](t, g, "qom-get", map[string]string{"path": "/machine/peripheral/data", "property": "drive"}))
	require.Equal(t, over, fileBelow(t, g, "data-limit"), "the filter is above the overlay")

	run("block-commit", map[string]any{"job-id": "merge", "device": "data-limit", "top-node": "over", "auto-finalize": true, "auto-dismiss": false})
	ready(t, g, "merge")
	run("job-complete", map[string]any{"id": "merge"})
	concluded(t, g, "merge")
	require.Equal(t, spec.Images[0].Path, fileBelow(t, g, "data-limit"), "and above the image again")
	run("blockdev-del", map[string]any{"node-name": "over"})

	m := qmp.NewManager(thisGuest{g})
	require.NoError(t, m.RemoveDevice(t.Context(), "nodes", "data"))
	require.Empty(t, nodesOf(t, g))
	require.Empty(t, ask[[]any](t, g, "query-block", nil))
	_, err = g.QMP().Execute(t.Context(), "qom-get", map[string]string{"path": "/objects/data-limit", "property": "limits"})
	require.Error(t, err)
	f, err := os.OpenFile(spec.Images[0].Path, os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// thisGuest finds one guest.
type thisGuest struct{ vm.Guest }

func (g thisGuest) QMP(context.Context, string) (qmp.Conn, error) { return g.Guest.QMP(), nil }

// fileBelow returns the file that the guest's writes go to.
func fileBelow(t *testing.T, g vm.Guest, node string) string {
	t.Helper()
	for _, b := range ask[[]struct {
		Inserted struct {
			Node  string `json:"node-name"`
			Image struct{ Filename string }
		}
	}](t, g, "query-block", nil) {
		if b.Inserted.Node == node {
			var filter struct {
				File struct{ File struct{ Filename string } }
			}
			require.NoError(t, json.Unmarshal([]byte(b.Inserted.Image.Filename[len("json:"):]), &filter))
			return filter.File.File.Filename
		}
	}
	t.Fatal("no such node: " + node)
	return ""
}

func concluded(t *testing.T, g vm.Guest, job string) { t.Helper(); await(t, g, job, "concluded") }
func ready(t *testing.T, g vm.Guest, job string)     { t.Helper(); await(t, g, job, "ready") }

// await waits for a job's state.
func await(t *testing.T, g vm.Guest, job, state string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, j := range ask[[]struct{ ID, Status, Error string }](t, g, "query-jobs", nil) {
			if j.ID == job {
				require.Empty(t, j.Error)
				return j.Status == state
			}
		}
		return false
	}, 30*time.Second, 5*time.Millisecond, "job %s is not %s", job, state)
}
