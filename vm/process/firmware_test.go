package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// flashSpec is a guest with a firmware of zeros, in files with odd names.
func flashSpec(t testing.TB, cfg vm.Config) vm.LaunchSpec {
	t.Helper()
	spec := specOf(cfg)
	dir := filepath.Join(t.TempDir(), `a,b"`)
	require.NoError(t, os.Mkdir(dir, 0o700))
	code := filepath.Join(dir, "code")
	spec.NVRAM = filepath.Join(dir, "vars")
	for _, file := range []string{code, spec.NVRAM} {
		require.NoError(t, os.WriteFile(file, make([]byte, 256<<10), 0o600))
	}
	spec.Boot.UEFI = &vm.UEFI{Code: code, CodeFormat: vm.FormatRaw, NVRAM: "/template", NVRAMFormat: vm.FormatRaw, SMM: true}
	return spec
}

// TestFlash: QEMU maps the program read-only and the VM's own variables, and has what
// protects them.
func TestFlash(t *testing.T) {
	h := newHouse(t)
	spec := flashSpec(t, vm.Config{})
	g := h.launch(spec)
	require.NoError(t, g.Connect(patient(t)))
	type node struct {
		Node     string `json:"node-name"`
		File     string
		ReadOnly bool `json:"ro"`
	}
	nodes := ask[[]node](t, g, "query-named-block-nodes", map[string]bool{"flat": true})
	require.Contains(t, nodes, node{nodeCode, spec.Boot.UEFI.Code, true})
	require.Contains(t, nodes, node{nodeNVRAM, spec.NVRAM, false})
	get := func(path, property string) any {
		return ask[any](t, g, "qom-get", map[string]string{"path": path, "property": property})
	}
	require.Equal(t, "on", get("/machine", "smm"))
	require.Equal(t, true, get("/machine/system.flash1", "secure"))
	for _, child := range ask[[]struct{ Name, Type string }](t, g, "qom-list", map[string]string{"path": "/machine/unattached"}) {
		if child.Type == "child<ICH9-LPC>" {
			require.InDelta(t, 1, get("/machine/unattached/"+child.Name, "disable_s3"), 0)
			return
		}
	}
	t.Fatal("the machine has no ICH9-LPC")
}

// TestFlashAndRawArguments: the user's own globals stay possible, another firmware does not.
func TestFlashAndRawArguments(t *testing.T) {
	_, err := build(flashSpec(t, vm.Config{Args: []string{"-global", "a.b=c"}}), facts, paths)
	require.NoError(t, err)
	for field, cfg := range map[string]vm.Config{
		"args[0]":       {Args: []string{"-blockdev", "driver=null-co,node-name=pflash0"}},
		"disks[0].name": {Disks: []vm.Disk{{Name: "pflash1", Size: vm.GiB}}},
	} {
		spec := flashSpec(t, cfg)
		spec.Images = []vm.Image{{Name: "pflash1", Path: "/image", Format: vm.FormatRaw}}[:len(cfg.Disks)]
		_, err := build(spec, facts, paths)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad)
		require.True(t, bad.Has(field), err)
	}
	spec := flashSpec(t, vm.Config{})
	require.NoError(t, os.Remove(spec.Boot.UEFI.Code))
	_, err = build(spec, facts, paths)
	require.ErrorContains(t, err, "boot.firmware")
}
