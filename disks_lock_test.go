package maqet_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestImageInUse: a VM whose image, or base, another VM writes does not start, and says
// which VM that is. Nothing boots here.
func TestImageInUse(t *testing.T) {
	dir := t.TempDir()
	raw, over := diskImage(t, dir, "shared.raw", 1), filepath.Join(dir, "over.qcow2")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", over).CombinedOutput()
	require.NoError(t, err, "%s", out)
	m := open(t, shortDir(t))
	start := func(name string, d vm.Disk) error {
		_, err := m.VM.Add(t.Context(), vm.Config{Name: name, Disks: []vm.Disk{d}})
		require.NoError(t, err)
		_, err = m.VM.Start(t.Context(), name, vm.StartPaused())
		return err
	}
	stop := func(name string) {
		_, err := m.VM.Stop(t.Context(), name, vm.Force())
		require.NoError(t, err)
	}
	require.NoError(t, start("writer", vm.Disk{Path: raw}))
	for name, c := range map[string]struct {
		disk  vm.Disk
		field string
	}{
		"second": {vm.Disk{Path: raw}, "disks[0].path"}, "reader": {vm.Disk{Path: raw, ReadOnly: true}, "disks[0].path"},
		"overlay": {vm.Disk{Base: raw}, "disks[0].base"}, "upper": {vm.Disk{Path: over}, "disks[0].path"},
	} {
		err := start(name, c.disk)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad, name)
		require.ErrorIs(t, err, errors.ErrImageInUse)
		require.True(t, bad.Has(c.field), bad)
		require.ErrorContains(t, err, `is being written by VM "writer" (PID `)
	}
	stop("writer")
	_, err = m.VM.Start(t.Context(), "reader", vm.StartPaused())
	require.NoError(t, err)
	_, err = m.VM.Start(t.Context(), "overlay", vm.StartPaused())
	require.NoError(t, err, "it only reads")
	_, err = m.VM.Start(t.Context(), "second", vm.StartPaused())
	require.ErrorIs(t, err, errors.ErrImageInUse)
	require.ErrorContains(t, err, `is in use by VM "`)
	stop("reader")
	stop("overlay")
	_, err = m.VM.Start(t.Context(), "second", vm.StartPaused())
	require.NoError(t, err)
	stop("second")
}
