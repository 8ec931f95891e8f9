package process

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestNoInjectionBySeed asks a running QEMU what it made of odd paths and texts; the test
// of seeds in the root package has a guest read the contents.
func TestNoInjectionBySeed(t *testing.T) {
	h := newHouse(t)
	for name, text := range nasty {
		if strings.ContainsRune(text, 0) {
			continue // Validate refuses it
		}
		t.Run(name, func(t *testing.T) {
			spec := specOf(vm.Config{CloudInit: &vm.CloudInit{}, Ignition: oddFile(t, h, text),
				FwCfg:  []vm.FwCfg{{Name: "opt/a", Text: text}, {Name: "opt/b", File: oddFile(t, h, text)}},
				SMBIOS: vm.SMBIOS{Manufacturer: text, Serial: text, OEMStrings: []string{text, text}}})
			spec.Seed = oddFile(t, h, text)
			if !utf8.ValidString(text) { // JSON can't say it
				_, err := h.b.Launch(t.Context(), spec)
				require.ErrorContains(t, err, "cloud_init")
				require.ErrorContains(t, err, "not UTF-8")
				return
			}
			g := h.launch(spec)
			require.NoError(t, g.Connect(patient(t)), "%q", g.runtime.Args)
			var files []string
			for _, n := range ask[[]struct {
				NodeName string `json:"node-name"`
				File     string `json:"file"`
				ReadOnly bool   `json:"ro"`
			}](t, g, "query-named-block-nodes", nil) {
				require.Contains(t, []string{"cloud-seed", "cloud-seed-file"}, n.NodeName)
				require.True(t, n.ReadOnly)
				files = append(files, n.File)
			}
			require.Equal(t, []string{spec.Seed, spec.Seed}, files)
			requireBlobs(t, g, text)
		})
	}
}

func oddFile(t *testing.T, h *house, text string) string {
	dir, err := os.MkdirTemp(h.dir, "files")
	require.NoError(t, err)
	name := "f" + strings.ReplaceAll(text, "/", "-")
	path := filepath.Join(dir, name[:min(len(name), 255)])
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
	return path
}

// requireBlobs looks at the files that texts reach QEMU by.
func requireBlobs(t *testing.T, g *guest, text string) {
	t.Helper()
	names := blobNames(g.runtime.Dir)
	require.Len(t, names, 3)
	for _, name := range names {
		path := filepath.Join(g.runtime.Dir, name)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(data))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
	}
}

// TestBlobsNeverOverwrite: what is in the way stays, and nothing else is left.
func TestBlobsNeverOverwrite(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{FwCfg: []vm.FwCfg{{Name: "opt/a", Text: "a"}, {Name: "opt/b", Text: "b"}}})
	dir := h.b.vmDir(spec.ID)
	require.NoError(t, os.Mkdir(dir, 0o700))
	victim := filepath.Join(h.dir, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(victim, filepath.Join(dir, "1.blob")))
	_, err := h.b.Launch(t.Context(), spec)
	require.ErrorIs(t, err, fs.ErrExist)
	data, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))

	require.NoError(t, os.MkdirAll(dir, 0o700))
	mine := filepath.Join(dir, "notes.blob")
	require.NoError(t, os.WriteFile(mine, nil, 0o600))
	g := h.launch(spec)
	require.NoError(t, g.Connect(patient(t)))
	h.end(g, spec)
	require.FileExists(t, mine, "only what launches made is removed")
	require.NoError(t, os.RemoveAll(dir))
}

func TestCheckBlobs(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		cfg   vm.Config
		host  hostFacts
		field string
	}{
		{vm.Config{Ignition: none}, facts, "ignition"},
		{vm.Config{Ignition: t.TempDir()}, facts, "ignition"},
		{vm.Config{FwCfg: []vm.FwCfg{{Name: "opt/a", File: "none"}}}, facts, "fw_cfg[0].file"},
		{vm.Config{SMBIOS: vm.SMBIOS{Serial: "a"}}, with(func(h *hostFacts) { h.machine = "microvm" }), "smbios"},
		{vm.Config{SMBIOS: vm.SMBIOS{OEMStrings: []string{"a"}}}, with(func(h *hostFacts) { h.arch, h.machine = "riscv64", "virt" }), "smbios"},
		{vm.Config{CloudInit: &vm.CloudInit{}, Devices: []vm.Device{{ID: "cloud-seed", Driver: "virtio-rng-pci"}}}, facts, "devices[0].id"},
	} {
		_, err := build(rehearsal(fixedID, c.cfg), c.host, paths)
		var config *errors.ConfigError
		require.ErrorAs(t, err, &config, c.field)
		require.True(t, config.Has(c.field), "%v is not of %s", err, c.field)
	}
}

// TestSeedArgv: what others on the host can see has paths and names only.
func TestSeedArgv(t *testing.T) {
	spec := vm.LaunchSpec{ID: fixedID, Seed: "/images/seed,1.iso", Config: vm.Config{Name: "n", CloudInit: &vm.CloudInit{},
		FwCfg: []vm.FwCfg{{Name: "opt/a", Text: "secret"}}, SMBIOS: vm.SMBIOS{Product: "a,b", OEMStrings: []string{"secret", "secret"}}}}
	plan, err := build(spec, facts, paths)
	require.NoError(t, err)
	line := strings.Join(plan.commandLine(), "\n")
	require.NotContains(t, line, "secret")
	for _, arg := range []string{
		`{"driver":"file","filename":"/images/seed,1.iso","node-name":"cloud-seed-file","read-only":true}`,
		`{"drive":"cloud-seed","driver":"virtio-blk-pci","id":"cloud-seed","serial":"cloud-seed"}`,
		"-fw_cfg\nname=opt/a,file=/run/maqet/0123456789ab/0.blob", "-smbios\ntype=1,product=a,,b",
		"-smbios\ntype=11,path=/run/maqet/0123456789ab/1.blob,path=/run/maqet/0123456789ab/2.blob"} {
		require.Contains(t, line, arg)
	}
}
