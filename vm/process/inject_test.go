package process

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// nasty are texts that end a value, or begin something else, in one of the languages
// that a path or name passes through on its way into QEMU.
var nasty = map[string]string{
	"comma":     "a,b",
	"option":    ",id=evil,readonly=on",
	"commas":    "a,,b,",
	"equals":    "file=x",
	"quotes":    `a"b'c`,
	"JSON":      `","driver":"null-co","x":"`,
	"spaces":    " a  b ",
	"unicode":   "über ☃",
	"dash":      "-S",
	"dashes":    "--daemonize",
	"backslash": `a\b\n`,
	"percent":   "100%s%n",
	"shell":     "$(id)`id`;id",
	"protocol":  "nbd:unix:x",
	"json:":     `json:{"driver":"null-co"}`,
	"colon":     "a:b",
	"newline":   "a\nb",
	"wildcard":  "*?[a]#!~",
}

// fakeKernel is a file that QEMU takes for a Linux kernel (Linux,
// Documentation/arch/x86/boot.rst). It never runs.
func fakeKernel(t *testing.T, path string) {
	t.Helper()
	image := make([]byte, 8192)
	image[0x1f1] = 4 // sectors of set-up code
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], 0x0206) // protocol
	image[0x211] = 1                                     // loaded high
	binary.LittleEndian.PutUint32(image[0x22c:], 0x37ffffff)
	binary.LittleEndian.PutUint32(image[0x238:], 2047) // longest command line
	require.NoError(t, os.WriteFile(path, image, 0o600))
}

// TestNothingInjects asks a running QEMU what it made of nasty texts in each place that
// a user's text can reach.
func TestNothingInjects(t *testing.T) {
	h := newHouse(t)
	for name, text := range nasty {
		t.Run(name, func(t *testing.T) { injection(t, h.dir, text, text) })
	}
	t.Run("300 characters", func(t *testing.T) {
		injection(t, h.dir, strings.Repeat("n", 300), strings.Repeat("d", 150)+"/"+strings.Repeat("f", 150))
	})
}

// injection puts text into every field, and file into every path.
func injection(t *testing.T, dir, text, file string) {
	root := filepath.Join(dir, "files", strings.ReplaceAll(t.Name(), "/", "-"))
	in := func(folder string) string {
		path := filepath.Join(root, folder, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		return path
	}
	b, err := New(Options{RuntimeDir: filepath.Join(dir, "run"), LogDir: in("logs"), CacheDir: probes})
	require.NoError(t, err)
	h := &house{t: t, b: b, dir: dir}
	t.Cleanup(func() { require.NoError(t, b.Close()) })

	serial := text[:min(20, len(text))]
	spec := specOf(vm.Config{
		Name: text,
		Devices: []vm.Device{{ID: "port", Driver: "virtserialport",
			Props: map[string]any{"name": text, "bus": "virtio-serial.0", "nr": 20}}},
		Disks: []vm.Disk{{Path: in("raw"), Serial: serial}, {Base: in("base"), Serial: serial, Interface: "nvme"}},
	})
	spec.Boot = vm.BootFiles{Kernel: in("kernel"), Initrd: in("initrd"), Firmware: in("firmware"), Cmdline: []string{text}}
	fakeKernel(t, spec.Boot.Kernel)
	require.NoError(t, os.WriteFile(spec.Boot.Initrd, make([]byte, 512), 0o600))
	require.NoError(t, os.WriteFile(spec.Boot.Firmware, make([]byte, 64<<10), 0o600))
	for _, path := range []string{in("raw"), in("base")} {
		require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	}
	images, err := storage.NewManager(storage.Options{Root: filepath.Join(root, "images")})
	require.NoError(t, err)
	overlay := filepath.Join(root, "images", file)
	_, err = images.Overlay(t.Context(), storage.OverlaySpec{Path: overlay, Base: in("base"), BaseFormat: "raw"})
	require.NoError(t, err)
	spec.Images = []vm.Image{{Name: "disk0", Path: in("raw"), Format: "raw"}, {Name: "disk1", Path: overlay, Format: "qcow2"}}
	before := filesBelow(t, dir)

	g := h.launch(spec)
	require.NoError(t, g.Connect(t.Context()), "%q", g.runtime.Args)
	requireTaken(t, g, spec, text, serial)

	logs := []string{filepath.Dir(g.runtime.Stderr), g.runtime.Console, g.runtime.Stderr}
	for _, path := range filesBelow(t, dir) {
		if strings.HasPrefix(path, g.runtime.Dir) || slices.Contains(logs, path) || slices.Contains(before, path) {
			continue
		}
		t.Errorf("a file that nobody asked for: %q", path)
	}
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", g.runtime.Process.PID))
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(open, func(fd string) bool {
		target, err := os.Readlink(fd)
		return err == nil && target == g.runtime.Console
	}), "the console's log is not open")
}

// requireTaken asks QEMU for each value.
func requireTaken(t *testing.T, g *guest, spec vm.LaunchSpec, text, serial string) {
	t.Helper()
	require.Equal(t, text, ask[struct{ Name string }](t, g, "query-name", nil).Name)
	require.Equal(t, spec.ID, ask[struct{ UUID string }](t, g, "query-uuid", nil).UUID)
	property := func(path, name string) string {
		return ask[string](t, g, "qom-get", map[string]string{"path": path, "property": name})
	}
	require.Equal(t, spec.Boot.Kernel, property("/machine", "kernel"))
	require.Equal(t, spec.Boot.Initrd, property("/machine", "initrd"))
	require.Equal(t, spec.Boot.Firmware, property("/machine", "firmware"))
	require.Equal(t, "console=ttyS0 "+text, property("/machine", "append"))
	require.Equal(t, text, property("/machine/peripheral/port", "name"))
	require.Equal(t, serial, property("/machine/peripheral/disk0", "serial"))
	require.Equal(t, serial, property("/machine/peripheral/disk1", "serial"))

	nodes := map[string]string{}
	var files []string
	for _, n := range ask[[]struct {
		NodeName string `json:"node-name"`
		File     string `json:"file"`
		ReadOnly bool   `json:"ro"`
		Driver   string `json:"drv"`
	}](t, g, "query-named-block-nodes", nil) {
		nodes[n.NodeName] = n.File
		files = append(files, n.File)
		require.Contains(t, []string{"file", "raw", "qcow2"}, n.Driver)
	}
	require.Equal(t, spec.Images[0].Path, nodes["disk0-file"])
	require.Equal(t, spec.Images[1].Path, nodes["disk1-file"])
	require.Contains(t, files, spec.Config.Disks[1].Base, "the base below the overlay")

	var channels []string
	for _, c := range ask[[]struct{ Label string }](t, g, "query-chardev", nil) {
		channels = append(channels, c.Label)
	}
	slices.Sort(channels)
	require.Equal(t, []string{"agent", "console", "qmp0", "qmp1", "qmp2", "qmp3"}, channels)
}
