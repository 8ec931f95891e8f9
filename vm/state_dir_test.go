package vm_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// newFirmwareBench is a bench whose guests have a UEFI with variables.
func newFirmwareBench(t *testing.T) (b *bench, template string) {
	b = newBench(t)
	template = filepath.Join(t.TempDir(), "template")
	require.NoError(t, os.WriteFile(template, []byte("new"), 0o644))
	b.booter.files.UEFI = &vm.UEFI{Code: "/code", CodeFormat: vm.FormatRaw, NVRAM: template, NVRAMFormat: vm.FormatRaw}
	return b, template
}

// nvram starts a VM and returns the path of its variables.
func (b *bench) nvram(t *testing.T, id string) string {
	t.Helper()
	_, err := b.Start(t.Context(), id)
	require.NoError(t, err)
	spec := b.backend.guest(id).spec
	require.Equal(t, filepath.Join(b.dir, "state", id), spec.StateDir)
	require.Equal(t, spec.StateDir, filepath.Dir(spec.NVRAM))
	return spec.NVRAM
}

func (b *bench) stop(t *testing.T, id string) {
	t.Helper()
	_, err := b.Stop(t.Context(), id)
	require.NoError(t, err)
}

func requireText(t *testing.T, want, path string) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// TestVariablesOfPersistentVM: they are a copy of its own, kept until the VM is removed.
func TestVariablesOfPersistentVM(t *testing.T) {
	b, template := newFirmwareBench(t)
	inst := b.add(t, vm.Config{Lifetime: vm.Persistent})
	path := b.nvram(t, inst.ID)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	requireText(t, "new", path)
	require.NoError(t, os.WriteFile(path, []byte("own"), 0o600))
	b.stop(t, inst.ID)
	requireText(t, "own", b.nvram(t, inst.ID))
	requireText(t, "new", template)
	other := b.add(t, vm.Config{Lifetime: vm.Persistent})
	require.NotEqual(t, path, b.nvram(t, other.ID))
	b.stop(t, other.ID)
	b.stop(t, inst.ID)

	// Another template has a copy of its own, and the first one's is there again with it.
	second := filepath.Join(t.TempDir(), "second")
	require.NoError(t, os.WriteFile(second, []byte("sec"), 0o644))
	b.booter.files.UEFI.NVRAM = second
	requireText(t, "sec", b.nvram(t, inst.ID))
	b.stop(t, inst.ID)
	b.booter.files.UEFI.NVRAM = template
	requireText(t, "own", b.nvram(t, inst.ID))
	b.stop(t, inst.ID)

	require.NoError(t, b.Remove(t.Context(), inst.ID))
	require.NoDirExists(t, filepath.Dir(path))
	require.DirExists(t, filepath.Join(b.dir, "state", other.ID))
}

// TestVariablesOfEphemeralVM: they are new at each start, and nothing of the VM's state
// outlives its guest.
func TestVariablesOfEphemeralVM(t *testing.T) {
	b, _ := newFirmwareBench(t)
	inst := b.add(t, vm.Config{})
	path := b.nvram(t, inst.ID)
	require.NoError(t, os.WriteFile(path, []byte("own"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(path), "tpm"), 0o700))
	b.stop(t, inst.ID)
	require.NoDirExists(t, filepath.Dir(path))
	requireText(t, "new", b.nvram(t, inst.ID))
	b.stop(t, inst.ID)
}

// TestStateOfFailedStart: what it made is gone, what was there before stays.
func TestStateOfFailedStart(t *testing.T) {
	b, _ := newFirmwareBench(t)
	inst := b.add(t, vm.Config{Lifetime: vm.Persistent})
	fails := func(context.Context) error { return errors.New("injected") }
	b.backend.launch = fails
	_, err := b.Start(t.Context(), inst.ID)
	require.Error(t, err)
	require.NoDirExists(t, filepath.Join(b.dir, "state", inst.ID))

	b.backend.launch = nil
	path := b.nvram(t, inst.ID)
	b.stop(t, inst.ID)
	require.NoError(t, os.WriteFile(path, []byte("own"), 0o600))
	b.backend.launch = fails
	_, err = b.Start(t.Context(), inst.ID)
	require.Error(t, err)
	requireText(t, "own", path)
}

// TestVariablesThatDoNotFit: of another size than the firmware's, or without a template.
func TestVariablesThatDoNotFit(t *testing.T) {
	b, template := newFirmwareBench(t)
	inst := b.add(t, vm.Config{Lifetime: vm.Persistent})
	path := b.nvram(t, inst.ID)
	b.stop(t, inst.ID)
	require.NoError(t, os.WriteFile(template, []byte("longer"), 0o644))
	_, err := b.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrStorage)
	require.ErrorContains(t, err, path)
	requireText(t, "new", path)
	require.NoError(t, os.Remove(template))
	_, err = b.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
