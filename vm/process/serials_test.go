package process

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestSerialTargets: each port's data goes where it was asked to, private to this user, and
// another process finds it there again.
func TestSerialTargets(t *testing.T) {
	h := newHouse(t)
	file, socket := filepath.Join(h.dir, "out"), filepath.Join(h.dir, "in")
	spec := specOf(vm.Config{Serials: []vm.Serial{{Name: "log", File: file}, {Name: "own", Socket: socket}, {Name: "talk", Socket: "auto"},
		{Name: "term", PTY: true}, {Name: "shell", Type: vm.SerialISA, PTY: true}}})
	g := h.launch(spec)
	require.Nil(t, g.Runtime().Terminals, "nobody knows yet")
	require.NoError(t, g.Connect(patient(t)))
	rt := g.Runtime()
	require.Len(t, rt.Sockets, 7, "the monitors', the console's, the agent's and one port's")
	require.Equal(t, filepath.Join(rt.Dir, "tty2.sock"), rt.Sockets["talk"])
	for path, mode := range map[string]os.FileMode{file: 0o600, rt.Sockets["talk"]: os.ModeSocket | 0o600, socket: os.ModeSocket | 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), path)
	}
	require.Len(t, rt.Terminals, 2)
	for name, path := range rt.Terminals {
		require.True(t, strings.HasPrefix(path, "/dev/pts/"), "%s: %s", name, path)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	channel, err := g.Dial(t.Context(), "talk", false)
	require.NoError(t, err)
	require.NoError(t, channel.Close())

	again, err := h.open().Attach(patient(t), record(spec, g))
	require.NoError(t, err)
	require.Equal(t, rt.Terminals, again.Runtime().Terminals)
	require.NoError(t, again.Release())
	found, err := h.open().Attach(patient(t), vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config})
	require.NoError(t, err, "its owner did not live to record it")
	require.Equal(t, rt.Terminals, found.Runtime().Terminals)
	require.Equal(t, rt.Sockets, found.Runtime().Sockets)
	require.NoError(t, found.Release())

	h.end(g, spec)
	require.FileExists(t, file, "it is the user's")
	require.NoFileExists(t, rt.Sockets["talk"])
	require.FileExists(t, socket, "the QEMU that was killed left it")
	require.NoError(t, h.b.Check(t.Context(), spec.ID, spec.Config), "nobody listens there: it can be had again")
}

// TestSerialPathsTaken: what is there already is never written over.
func TestSerialPathsTaken(t *testing.T) {
	h := newHouse(t)
	in := func(name string) string { return filepath.Join(h.dir, name) }
	require.NoError(t, os.WriteFile(in("file"), []byte("mine"), 0o600))
	require.NoError(t, os.Symlink(in("file"), in("link")))
	require.NoError(t, os.Symlink(in("nowhere"), in("dangling")))
	l, err := net.Listen("unix", in("live"))
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	for field, list := range map[string][]vm.Serial{
		"socket": {{Socket: in("file")}, {Socket: in("link")}, {Socket: in("live")}, {Socket: h.dir}, {Socket: in("no/folder")},
			{Socket: in(strings.Repeat("n", 120))}},
		"file": {{File: in("link")}, {File: in("dangling")}, {File: in("live")}, {File: h.dir}, {File: in("no/folder")}, {File: "/dev/null"}},
	} {
		for _, s := range list {
			err := h.b.Check(t.Context(), fixedID, vm.Config{Serials: []vm.Serial{{}, s}})
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad, "%+v", s)
			require.True(t, bad.Has("serials[1]."+field), "%v", err)
		}
	}
	require.NoError(t, h.b.Check(t.Context(), fixedID, vm.Config{Serials: []vm.Serial{{File: in("file")}, {File: in("new")}}}))
	require.NoFileExists(t, in("new"), "looking makes nothing")
	data, err := os.ReadFile(in("file"))
	require.NoError(t, err)
	require.Equal(t, "mine", string(data))
}

// TestSerialFilesOfFailedLaunch: a file that was made for a launch goes with it, a file that
// was there stays.
func TestSerialFilesOfFailedLaunch(t *testing.T) {
	h := newHouse(t)
	old, fresh := filepath.Join(h.dir, "old"), filepath.Join(h.dir, "fresh")
	require.NoError(t, os.WriteFile(old, []byte("mine"), 0o600))
	made, err := makeOutputs([]string{fresh, old, filepath.Join(h.dir, "no", "folder")})
	require.Error(t, err)
	require.Equal(t, []string{fresh}, made)
	require.NoError(t, removeOutputs(made))

	spec := specOf(vm.Config{Serials: []vm.Serial{{File: old}, {File: fresh}}})
	spec.ID = uuid.NewString()
	binary := filepath.Join(h.dir, "qemu")
	require.NoError(t, os.WriteFile(binary, []byte("no program"), 0o700))
	plan, err := build(spec, with(func(f *hostFacts) { f.binary = binary }), h.b.files(spec.ID))
	require.NoError(t, err)
	_, err = h.b.spawn(t.Context(), plan, plan.files)
	require.Error(t, err)
	require.NoFileExists(t, fresh)
	require.FileExists(t, old)

	require.NoError(t, os.Remove(old))
	require.NoError(t, os.Symlink(fresh, old)) // put there after it was looked at
	_, err = makeOutputs([]string{old})
	require.Error(t, err, "a symbolic link is not followed")
	require.NoFileExists(t, fresh)
}

// TestPrivateSocket: nothing but a socket gets the mode.
func TestPrivateSocket(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.NoError(t, os.Symlink(file, link))
	for _, path := range []string{file, link, filepath.Join(dir, "gone")} {
		require.NoError(t, makePrivate(path))
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode())
}
