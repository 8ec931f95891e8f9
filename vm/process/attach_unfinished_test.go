package process

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/internal/viewer"
	"github.com/maqet/maqet/vm"
)

// TestAttachFinishesAStart: the owner died after it had recorded its guest, or before, and had
// not set it up. Who finds it does: ports of segments, forwards, the display's socket and its
// password.
func TestAttachFinishesAStart(t *testing.T) {
	h := newHouse(t)
	for name, recorded := range map[string]bool{"recorded": true, "not recorded": false} {
		t.Run(name, func(t *testing.T) {
			h := &house{t: t, b: h.b, dir: h.dir}
			spec := specOf(vm.Config{Lifetime: vm.Persistent,
				Networks: []vm.Network{{Forwards: []vm.Forward{{Guest: 80}}, LinkDown: true}, {Type: vm.NetworkSegment}},
				Display:  vm.Display{Type: vm.DisplayVNC, PasswordFile: passwordFile(t, secret)}})
			g := h.launch(spec)
			require.NoError(t, g.control.connect(patient(t))) // QEMU has made its sockets
			require.NoError(t, g.Release())
			inst := record(spec, g)
			inst.State = vm.Starting
			if !recorded {
				inst.Runtime = vm.Runtime{}
			}
			other := h.open()
			found, err := other.Attach(patient(t), inst)
			require.NoError(t, err)
			rt := found.Runtime()
			require.Len(t, rt.Forwards["net0"], 1)
			require.Positive(t, rt.Forwards["net0"][0].Port)
			for _, path := range append(portsOf(rt.Args), rt.Sockets[vm.DisplayVNC]) {
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.Equal(t, os.ModeSocket|0o600, info.Mode(), path)
			}
			require.NoError(t, viewer.VNC(patient(t), rt.Sockets[vm.DisplayVNC], secret))
			require.NoError(t, found.Release())
			require.NoError(t, other.Close())
		})
	}
}

// TestAttachWithoutThePassword: the guest is found all the same, and its display lets in
// nobody.
func TestAttachWithoutThePassword(t *testing.T) {
	h := newHouse(t)
	file := passwordFile(t, secret)
	spec := specOf(vm.Config{Display: vm.Display{Type: vm.DisplayVNC, PasswordFile: file}})
	g := h.launch(spec)
	require.NoError(t, g.control.connect(patient(t)))
	require.NoError(t, g.Release())
	require.NoError(t, os.Remove(file))
	inst := record(spec, g)
	inst.State = vm.Starting
	other := h.open()
	found, err := other.Attach(patient(t), inst)
	require.NoError(t, err)
	socket := found.Runtime().Sockets[vm.DisplayVNC]
	require.ErrorIs(t, viewer.VNC(patient(t), socket, secret), viewer.ErrRefused)
	require.ErrorIs(t, viewer.VNC(patient(t), socket, ""), viewer.ErrRefused)
	require.NoError(t, found.Release())
	require.NoError(t, other.Close())
}

// TestNoDescriptorIsNoDeath: a process that has no descriptor left to look with does not take
// its guests and their helpers for dead.
func TestNoDescriptorIsNoDeath(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{Lifetime: vm.Persistent})
	inst := record(spec, g)
	sleeping := stranger(t)
	inst.Runtime.Helpers = []vm.Helper{{Name: "sleep", Process: vm.Process(sleeping)}}
	other := h.open()
	free := noDescriptors(t)
	_, err := other.Attach(patient(t), inst)
	unrecorded := inst
	unrecorded.Runtime = vm.Runtime{}
	_, searched := other.Attach(patient(t), unrecorded)
	alive := proc.Alive(proc.ID(inst.Runtime.Process))
	cleaned := other.Clean(t.Context(), vm.Instance{ID: "none", Runtime: vm.Runtime{Helpers: inst.Runtime.Helpers}})
	free()
	require.ErrorIs(t, err, unix.EMFILE)
	require.NotErrorIs(t, err, errors.ErrVMNotRunning)
	require.ErrorIs(t, searched, unix.EMFILE)
	require.NotErrorIs(t, searched, errors.ErrVMNotRunning)
	require.True(t, alive)
	require.ErrorIs(t, cleaned, unix.EMFILE, "its helper is not known to be gone")
	require.True(t, proc.Alive(sleeping))
	require.NoError(t, other.Close())
}

// noDescriptors lets this process open no further file until the result is called.
func noDescriptors(t *testing.T) (free func()) {
	t.Helper()
	var was unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	highest := 0
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		require.NoError(t, err)
		highest = max(highest, fd)
	}
	var held []int
	for len(held) == 0 || held[len(held)-1] < highest { // fills the gaps
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		held = append(held, fd)
	}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(held[len(held)-1]) + 1, Max: was.Max}))
	return func() {
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was))
		for _, fd := range held {
			require.NoError(t, unix.Close(fd))
		}
	}
}
