package maqet_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// TestPluggedImageIsGone: the start says so, and RemoveDevice lets the VM start again.
func TestPluggedImageIsGone(t *testing.T) {
	m := open(t, shortDir(t))
	_, err := m.VM.Add(t.Context(), vm.Config{Name: "web"})
	require.NoError(t, err)
	start := func() error {
		_, err := m.VM.Start(t.Context(), "web", vm.StartPaused())
		return err
	}
	require.NoError(t, start())
	path := rawImage(t, 1<<20)
	require.NoError(t, m.QMP.AddDevice(t.Context(), "web", qmp.Device{ID: "scratch", Disk: &qmp.Disk{Path: path, Format: "raw"}}))
	_, err = m.VM.Stop(t.Context(), "web", vm.Force())
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))

	err = start()
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	for _, part := range []string{"step images", "scratch", path, "RemoveDevice"} {
		require.ErrorContains(t, err, part)
	}
	require.NoError(t, m.QMP.RemoveDevice(t.Context(), "web", "scratch"))
	require.NoError(t, start())
	g, err := m.Machine(t.Context(), "web")
	require.NoError(t, err)
	requireNoBackends(t, g, []plugTest{{device: qmp.Device{ID: "scratch"}}})
}

// TestQEMURefusesADevice: what QEMU said is in the error, once.
func TestQEMURefusesADevice(t *testing.T) {
	m := open(t, shortDir(t))
	_, err := m.Run(t.Context(), vm.Config{Devices: []vm.Device{{Driver: "no-such-driver"}}})
	var start *errors.StartError
	require.ErrorAs(t, err, &start)
	require.Contains(t, start.Stderr, "no-such-driver")
	require.Equal(t, 1, strings.Count(err.Error(), strings.TrimSpace(start.Stderr)), "%v", err)
	if start.Exit != nil { // else it took long to end
		require.Equal(t, 1, strings.Count(err.Error(), start.Exit.String()), "%v", err)
	}
}
