package vm_test

import (
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// write makes a file in a folder and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// load loads each text as a file of its own.
func load(t *testing.T, texts ...string) (vm.Config, error) {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, text := range texts {
		paths = append(paths, write(t, dir, string(rune('a'+i))+".yaml", text))
	}
	return vm.LoadConfig(paths...)
}

func TestLoadConfigMerges(t *testing.T) {
	cfg, err := load(t, `
name: web
memory: 512M
cpu: {count: 2, model: max}
labels: {team: core, stage: dev}
disks:
  - {name: root, size: 10G}
  - {name: data, size: 1G}
devices:
  - {id: rng, driver: virtio-rng-pci, props: {max-bytes: 1024, period: 1000}}
networks:
  - name: lan
    forwards: [{port: 2222, guest: 22}]
args: [-device, virtio-balloon-pci, -device, virtio-keyboard-pci]
lifetime: persistent
`, `
memory: 2G
cpu: {count: 4}
labels: {stage: ci}
disks:
  - {name: data, remove: true}
  - {name: root, serial: ROOT}
  - {name: scratch, size: 2G}
devices:
  - {id: rng, props: {max-bytes: 2048, period: ~}}
networks:
  - name: lan
    forwards: [{port: 8080, guest: 80}]
args: [-device, virtio-mouse-pci]
lifetime: ~
`)
	require.NoError(t, err)
	require.Equal(t, vm.Config{
		Name: "web", Memory: 2 * vm.GiB, CPU: vm.CPU{Count: 4, Model: "max"},
		Labels:   map[string]string{"team": "core", "stage": "ci"},
		Disks:    []vm.Disk{{Name: "root", Size: 10 * vm.GiB, Serial: "ROOT"}, {Name: "scratch", Size: 2 * vm.GiB}},
		Devices:  []vm.Device{{ID: "rng", Driver: "virtio-rng-pci", Props: map[string]any{"max-bytes": int64(2048)}}},
		Networks: []vm.Network{{Name: "lan", Forwards: []vm.Forward{{Port: 2222, Guest: 22}, {Port: 8080, Guest: 80}}}},
		Args:     []string{"-device", "virtio-balloon-pci", "-device", "virtio-keyboard-pci", "-device", "virtio-mouse-pci"},
	}, cfg)
}

// TestLoadConfigAgain: a file that is given twice, and all files given twice, change nothing.
func TestLoadConfigAgain(t *testing.T) {
	dir := t.TempDir()
	base := write(t, dir, "base.yaml", "disks: [{size: 1G}, {size: 1G}, {name: root, size: 1G}]\nargs: [-device, virtio-rng-pci, -device, virtio-rng-pci]\n"+
		"networks: [{forwards: [{port: 1, guest: 1}]}]\nlabels: {a: b}\n")
	over := write(t, dir, "over.yaml", "disks: [{name: root, remove: true}, {size: 2G}]\nargs: [-rtc, base=utc]\ncloud_init: {packages: [curl]}\n")
	once, err := vm.LoadConfig(base, over)
	require.NoError(t, err)
	require.Len(t, once.Disks, 3)
	require.Len(t, once.Args, 6)
	for _, files := range [][]string{{base, over, over}, {base, base, over}, {base, over, base, over}} {
		again, err := vm.LoadConfig(files...)
		require.NoError(t, err)
		require.Equal(t, once, again, "%v", files)
	}
}

func TestLoadConfigReplaces(t *testing.T) {
	cfg, err := load(t, "disks: [{name: a, size: 1G}]\nargs: [-a]\nlabels: {a: b}\nnetworks: [{name: n}]\n",
		"disks: !replace [{name: b, size: 1G}]\nargs: !replace\n  - -b\nlabels: !replace {c: d}\nnetworks: !replace []\n")
	require.NoError(t, err)
	require.Equal(t, vm.Config{Disks: []vm.Disk{{Name: "b", Size: vm.GiB}}, Args: []string{"-b"}, Labels: map[string]string{"c": "d"},
		Networks: []vm.Network{}}, cfg)
}

// TestLoadConfigEmpty: nothing is the zero Config, which is a working VM.
func TestLoadConfigEmpty(t *testing.T) {
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "{}", "~", "---\n...\n", "\xef\xbb\xbf", "%YAML 1.2\n---\n{}\n"} {
		cfg, err := load(t, text)
		require.NoError(t, err, "%q", text)
		require.Equal(t, vm.Config{}, cfg, "%q", text)
	}
	cfg, err := vm.LoadConfig()
	require.NoError(t, err)
	require.Equal(t, vm.Config{}, cfg)
	cfg, err = load(t, "rng: {}\ntpm: {}\nvsock: ~\n")
	require.NoError(t, err)
	require.Equal(t, vm.Config{RNG: &vm.RNG{}, TPM: &vm.TPM{}}, cfg)
}

// TestLoadConfigJSON: JSON is YAML, tabs and escapes included.
func TestLoadConfigJSON(t *testing.T) {
	want := vm.Config{Name: "web", Memory: vm.GiB, Labels: map[string]string{"e": "😀/é\t", "empty": ""},
		Timeouts: vm.Timeouts{Ready: vm.Duration(90 * time.Second)}, Args: []string{"-rtc", "base=utc,clock=host"}}
	data, err := json.MarshalIndent(want, "", "\t")
	require.NoError(t, err)
	dir := t.TempDir()
	for name, text := range map[string]string{"indented.json": string(data), "windows.json": strings.ReplaceAll(string(data), "\n", "\r\n"),
		"escaped.json": `{"name":"web","memory":1073741824,"labels":{"e":"\ud83d\ude00\/\u00e9\t","empty":""},"timeouts":{"ready":"1m30s"},"args":["-rtc","base=utc,clock=host"]}`} {
		cfg, err := vm.LoadConfig(write(t, dir, name, text))
		require.NoError(t, err, name)
		require.Equal(t, want, cfg, name)
	}
}

// TestLoadConfigScalars: booleans are YAML 1.2's, texts take numbers as they are written.
func TestLoadConfigScalars(t *testing.T) {
	cfg, err := load(t, `
tpm: {version: 2.0}
memory: 0x40000000
max_memory: 1.5G
cpu: {count: 0x2}
vsock: {cid: 4294967295}
pvpanic: True
tablet: FALSE
args: [-smp, 017, 1e3, 0x1F, 1_000]
cloud_init: {files: [{path: /x, mode: 0644}]}
devices:
  - driver: virtio-rng-pci
    props: {a: on, b: yes, c: true, d: 0x5000c50015ea71ac, e: 18446744073709551615, f: 1.5, g: "1", h: 2001-01-01, i: -9223372036854775808, j: {k: [1, off]}, l: !!str 1}
`)
	require.NoError(t, err)
	require.Equal(t, "2.0", cfg.TPM.Version)
	require.Equal(t, vm.GiB, cfg.Memory)
	require.Equal(t, 1536*vm.MiB, cfg.MaxMemory)
	require.Equal(t, 2, cfg.CPU.Count)
	require.Equal(t, uint32(math.MaxUint32), cfg.Vsock.CID)
	require.True(t, cfg.PVPanic)
	require.False(t, cfg.Tablet)
	require.Equal(t, []string{"-smp", "017", "1e3", "0x1F", "1_000"}, cfg.Args)
	require.Equal(t, "0644", cfg.CloudInit.Files[0].Mode)
	props := map[string]any{"a": "on", "b": "yes", "c": true, "d": int64(0x5000c50015ea71ac), "e": uint64(math.MaxUint64), "f": 1.5, "g": "1",
		"h": "2001-01-01", "i": int64(math.MinInt64), "j": map[string]any{"k": []any{int64(1), "off"}}, "l": "1"}
	require.Equal(t, props, cfg.Devices[0].Props)

	data, err := json.Marshal(cfg)
	require.NoError(t, err)
	var back vm.Config
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, cfg, back, "a store keeps numbers of 64 bits")
	require.Error(t, json.Unmarshal([]byte(`{"devices":[{"driver":"x","props":{"a":1e999}}]}`), &back))
	require.Error(t, json.Unmarshal([]byte(`{"devices":[{"driver":1}]}`), &back))
}

// TestLoadConfigAliases: anchors repeat what is written, each in its own place.
func TestLoadConfigAliases(t *testing.T) {
	cfg, err := load(t, "labels: &l {a: x}\ncloud_init:\n  users:\n    - {name: ann, groups: &g [wheel, kvm]}\n    - {name: bob, groups: *g}\nboot: {files: {/a: &f one, /b: *f}}\n")
	require.NoError(t, err)
	require.Equal(t, cfg.CloudInit.Users[0].Groups, cfg.CloudInit.Users[1].Groups)
	require.Equal(t, cfg.Boot.Files["/a"], cfg.Boot.Files["/b"])
	require.True(t, filepath.IsAbs(cfg.Boot.Files["/b"]))
}

func TestLoadConfigMissingFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "base.yaml", "")
	_, err := vm.LoadConfig(filepath.Join(dir, "bsae.yaml"), filepath.Join(dir, "base.yaml"), filepath.Join(dir, "nothing/like/it.yaml"))
	require.ErrorIs(t, err, errors.ErrConfigFileNotFound)
	require.ErrorIs(t, err, errors.ErrConfiguration)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	require.Len(t, bad.Problems, 2, "all of them: %v", bad)
	require.Equal(t, filepath.Join(dir, "base.yaml"), bad.Problems[0].Nearest)
	require.ErrorContains(t, err, "bsae.yaml: does not exist (did you mean "+filepath.Join(dir, "base.yaml")+"?)")
	t.Chdir(dir)
	_, err = vm.LoadConfig("bas.yaml")
	require.ErrorContains(t, err, "did you mean base.yaml?")
}

// TestLoadConfigNoFile: what is no regular file is refused at once, a pipe without a writer
// included.
func TestLoadConfigNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	_, err := vm.LoadConfig(dir, pipe, "/dev/zero")
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	require.Len(t, bad.Problems, 3)
	require.ErrorContains(t, err, "is not a regular file")
	require.NotErrorIs(t, err, fs.ErrNotExist)
	_, err = vm.LoadConfig(write(t, dir, "big.yaml", "a: "+strings.Repeat("x", 1<<20)))
	require.ErrorContains(t, err, "larger than 1 MiB")
	_, err = vm.LoadConfig(write(t, dir, "large.yaml", "labels: {a: "+strings.Repeat("x", 1<<20-20)+"}"))
	require.NoError(t, err)
}

// TestApplyOfFiles: applying what files say a second time changes nothing.
func TestApplyOfFiles(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files := []string{write(t, dir, "base.yaml", "name: web\nmemory: 512M\ndisks: [{size: 1G}, {name: root, size: 1G}]\nnetworks: [{}]\n"+
		"devices: [{driver: virtio-rng-pci, props: {max-bytes: 9223372036854775807, period: 1000}}]\nlabels: {}\nargs: []\n"),
		write(t, dir, "ci.yaml", "disks: [{name: root, size: 2G}]\nrng: {}\ncloud_init: {users: [{name: ann}]}\n")}
	cfg, err := vm.LoadConfig(files...)
	require.NoError(t, err)
	first, err := b.Apply(t.Context(), cfg)
	require.NoError(t, err)
	for _, order := range [][]string{files, append(files, files...)} {
		cfg, err := vm.LoadConfig(order...)
		require.NoError(t, err)
		again, err := b.Apply(t.Context(), cfg)
		require.NoError(t, err)
		require.Equal(t, first.Version, again.Version)
		require.Len(t, again.Config.Disks, 2)
	}
}
