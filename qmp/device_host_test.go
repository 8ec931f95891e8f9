package qmp

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// TestSocketTakesNothingOver: QEMU would remove what is at the path of a serial port's
// socket.
func TestSocketTakesNothingOver(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(1)...)
	m := rig.manager()
	file := filepath.Join(t.TempDir(), "precious")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	live := socketPath(t, "live")
	l, err := net.Listen("unix", live)
	require.NoError(t, err)
	defer l.Close()
	for _, path := range []string{file, live, filepath.Dir(file)} {
		err := m.AddDevice(t.Context(), "web", Device{ID: "log", Serial: &SerialPort{Name: "log", Socket: path}})
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration, path)
		require.ErrorContains(t, err, "device.serial.socket")
		require.Error(t, SerialPort{Socket: path}.Takes(t.Context()), path)
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(data))

	stale := socketPath(t, "stale")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	require.NoError(t, err)
	old.SetUnlinkOnClose(false)
	require.NoError(t, old.Close())
	require.NoError(t, SerialPort{Socket: stale}.Takes(t.Context()), "as a QEMU that was killed leaves it")
	require.NoError(t, SerialPort{Socket: stale + "2"}.Takes(t.Context()))
	require.NoError(t, SerialPort{}.Takes(t.Context()))
}

func TestReservedIDs(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(1)...)
	m := rig.manager(WithReserved(func(id string) bool { return id == "agent" }))
	require.ErrorIs(t, m.AddDevice(t.Context(), "web", Device{ID: "agent", RNG: &RNG{}}), errors.ErrInvalidConfiguration)
	require.ErrorIs(t, m.RemoveDevice(t.Context(), "web", "agent"), errors.ErrInvalidConfiguration)
	rig.requireNothingOf("agent")
}

// TestIDsThatArePathsElsewhere: an object's ID can be the name of a property of another.
func TestIDsThatArePathsElsewhere(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(2, "-m", "size=128M,slots=2,maxmem=512M")...)
	m := rig.manager()
	for _, d := range []Device{
		{ID: "r1", RNG: &RNG{}}, {ID: "rng", RNG: &RNG{}},
		{ID: "m1", Memory: &Memory{Size: 128 << 20}}, {ID: "memdev", Memory: &Memory{Size: 128 << 20}},
	} {
		require.NoError(t, m.AddDevice(t.Context(), "web", d), d.ID)
	}
}

// TestDisksThatQEMURefuses: the error says which image, and why where that can be seen.
func TestDisksThatQEMURefuses(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(3)...)
	m := rig.manager()
	disk := rawImage(t)
	require.NoError(t, m.AddDevice(t.Context(), "web", Device{ID: "first", Disk: disk}))
	err := m.AddDevice(t.Context(), "web", Device{ID: "second", Disk: disk})
	require.ErrorIs(t, err, errors.ErrImageInUse)
	require.ErrorIs(t, err, errors.ErrQMPCommand)
	require.ErrorContains(t, err, disk.Path)
	rig.requireNothingOf("second")

	gone := filepath.Join(t.TempDir(), "gone.raw")
	err = m.AddDevice(t.Context(), "web", Device{ID: "second", Disk: &Disk{Path: gone, Format: "raw"}})
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	require.ErrorContains(t, err, gone)

	err = m.AddDevice(t.Context(), "web", Device{ID: "second", Disk: &Disk{Path: rawImage(t).Path, Format: "qcow2"}})
	require.ErrorIs(t, err, errors.ErrQMPCommand)
	require.NotErrorIs(t, err, errors.ErrStorage)
	require.ErrorContains(t, err, "device.disk.format")
	require.True(t, strings.Contains(err.Error(), "second") && strings.Contains(err.Error(), "qcow2"), err)
	t.Log(err)
}

// TestHeadWithoutDevice: an output of no device is no screen.
func TestHeadWithoutDevice(t *testing.T) {
	m, _ := managed(t, always(`{"return": {}}`))
	for _, o := range []ScreenshotOptions{{Head: 5}, {Head: -1}, {Device: "vga", Head: -1}} {
		_, err := m.ScreenshotOf(t.Context(), "web", o)
		require.ErrorIs(t, err, errors.ErrConfigValidation, "%+v", o)
	}
}
