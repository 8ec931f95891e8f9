package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

func needSwtpm(t testing.TB) {
	t.Helper()
	if findSwtpm() == "" {
		testhost.Lacks(t, "swtpm is not on PATH: apt-get install swtpm")
	}
}

// TestTPM: QEMU has the TPM, in every version and model, and swtpm ends with it and leaves
// its state.
func TestTPM(t *testing.T) {
	needSwtpm(t)
	h := newHouse(t)
	for _, c := range []struct {
		cfg   vm.TPM
		model string
		state string
	}{
		{vm.TPM{}, "tpm-crb", "tpm2-00.permall"},
		{vm.TPM{Model: vm.TPMTIS}, "tpm-tis", "tpm2-00.permall"},
		{vm.TPM{Version: vm.TPM12}, "tpm-tis", "tpm-00.permall"},
	} {
		t.Run(c.cfg.Version+c.model, func(t *testing.T) {
			h := &house{t: t, b: h.b, dir: h.dir}
			spec := specOf(vm.Config{TPM: &c.cfg})
			spec.StateDir = filepath.Join(t.TempDir(), "a,b ü")
			g := h.launch(spec)
			require.NoError(t, g.Connect(patient(t)))
			tpms := ask[[]struct{ Model string }](t, g, "query-tpm", nil)
			require.Len(t, tpms, 1)
			require.Equal(t, c.model, tpms[0].Model)
			info, err := os.Stat(filepath.Join(spec.StateDir, "tpm"))
			require.NoError(t, err)
			require.Equal(t, os.ModeDir|0o700, info.Mode())
			require.NoError(t, rung(g, "quit").Run(patient(t)))
			gone(t, g.Done())
			require.False(t, proc.Alive(proc.ID(g.Runtime().Helpers[0].Process)))
			info, err = os.Stat(filepath.Join(spec.StateDir, "tpm", c.state))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode())
		})
	}
}

// TestTPMWithBrokenState: swtpm's own words are in the error when it can't start.
func TestTPMWithBrokenState(t *testing.T) {
	needSwtpm(t)
	h := newHouse(t)
	spec := specOf(vm.Config{TPM: &vm.TPM{}})
	spec.StateDir = t.TempDir()
	dir := filepath.Join(spec.StateDir, "tpm")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tpm2-00.permall"), []byte("nonsense"), 0o600))
	g := h.launch(spec)
	err := g.Connect(patient(t))
	require.ErrorContains(t, err, "QEMU ended with exit status 1")
	gone(t, g.Done())
	requireHelpersGone(t, g.Runtime())

	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	another := specOf(spec.Config)
	another.StateDir = spec.StateDir
	_, err = h.b.Launch(t.Context(), another)
	require.ErrorIs(t, err, errors.ErrVMStart)
	require.ErrorContains(t, err, "swtpm: ")
}

func TestTPMRefused(t *testing.T) {
	aarch64 := with(func(h *hostFacts) { h.arch, h.machine, h.swtpm = "aarch64", "virt-7.2", "/swtpm" })
	for name, c := range map[string]struct {
		tpm   vm.TPM
		host  hostFacts
		field string
		says  string
	}{
		"no swtpm":   {host: facts, field: "tpm", says: "install the package swtpm"},
		"microvm":    {host: with(func(h *hostFacts) { h.machine, h.swtpm = "microvm", "/swtpm" }), field: "tpm", says: "microvm"},
		"crb on arm": {tpm: vm.TPM{Model: vm.TPMCRB}, host: aarch64, field: "tpm.model", says: "x86_64 only"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := build(rehearsal(fixedID, vm.Config{TPM: &c.tpm}), c.host, paths)
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.True(t, bad.Has(c.field), err)
			require.ErrorContains(t, err, c.says)
		})
	}
	plan, err := build(rehearsal(fixedID, vm.Config{TPM: &vm.TPM{}}), aarch64, paths)
	require.NoError(t, err)
	require.Contains(t, plan.commandLine(), `{"driver":"tpm-tis-device","id":"tpm","tpmdev":"tpm"}`)
}

// TestTPMWithoutQEMU: swtpm does not end by itself when its owner dies before QEMU spoke to it.
// Who clears away after that VM finds it.
func TestTPMWithoutQEMU(t *testing.T) {
	needSwtpm(t)
	h := newHouse(t)
	spec := specOf(vm.Config{TPM: &vm.TPM{}, Lifetime: vm.Persistent})
	spec.StateDir = t.TempDir()
	plan := h.plan(spec)
	require.NoError(t, ownDir(plan.files.dir))
	require.NoError(t, ownDir(plan.files.logDir))
	c := crew{b: h.b, vm: spec.ID}
	end, err := c.start(t.Context(), swtpmPlan(findSwtpm(), spec.StateDir, ""), plan.files)
	require.NoError(t, err)
	require.NoError(t, end.Close())
	swtpm := c.helpers[0]
	t.Cleanup(func() { _ = swtpm.signal(9) }) // an error means that it is gone

	require.NoError(t, h.b.Clean(t.Context(), vm.Instance{ID: fixedID, Config: spec.Config}), "another VM")
	require.False(t, swtpm.gone())
	require.NoError(t, h.b.Clean(t.Context(), vm.Instance{ID: spec.ID, Config: spec.Config}))
	gone(t, swtpm.done())
	require.NoError(t, swtpm.close())
}
