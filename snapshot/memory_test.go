package snapshot_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// mark writes a text into the memory of a guest, and on its disks.
func (h *house) mark(ref, text string, disks ...string) {
	h.t.Helper()
	h.sh(ref, "echo "+text+" > /tmp/mark")
	for _, disk := range disks {
		h.sh(ref, "echo "+text+" | dd of="+disk+" conv=fsync 2>/dev/null")
	}
}

// requireMark compares what mark has written.
func (h *house) requireMark(ref, text string, disks ...string) {
	h.t.Helper()
	require.Equal(h.t, text, h.sh(ref, "cat /tmp/mark"), "memory")
	for _, disk := range disks {
		require.Equal(h.t, text, h.sh(ref, "dd if="+disk+" bs="+strconv.Itoa(len(text))+" count=1 iflag=direct 2>/dev/null || head -c "+
			strconv.Itoa(len(text))+" "+disk), disk)
	}
}

// counter starts a program in the guest that counts on and on, whoever is connected.
func (h *house) counter(ref string) {
	h.t.Helper()
	h.sh(ref, "setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i > /tmp/new; mv /tmp/new /tmp/count; sleep 0.05; done' >/dev/null 2>&1 </dev/null &")
}

// count returns how far the counter is, and waits until it goes on.
func (h *house) count(ref string) int {
	h.t.Helper()
	n, err := strconv.Atoi(h.sh(ref, "a=$(cat /tmp/count); b=$a; while [ \"$a\" = \"$b\" ]; do sleep 0.05; b=$(cat /tmp/count); done; echo $b"))
	require.NoError(h.t, err)
	return n
}

// requireState compares what is recorded of a VM's state, and what QEMU says.
func (h *house) requireState(ref string, state vm.State) {
	h.t.Helper()
	inst, err := h.vms.Get(soon(h.t), ref)
	require.NoError(h.t, err)
	require.Equal(h.t, state, inst.State)
	g, err := h.vms.Live(soon(h.t), ref)
	require.NoError(h.t, err)
	status, err := qapi.QueryStatus(soon(h.t), g.QMP())
	require.NoError(h.t, err)
	require.Equal(h.t, state == vm.Running, status.Running)
	jobs, err := qapi.QueryJobs(soon(h.t), g.QMP())
	require.NoError(h.t, err)
	require.Empty(h.t, jobs)
}

func (h *house) qmp(ref string) guestQMP { return guestQMP{h, ref} }

type guestQMP struct {
	h   *house
	ref string
}

func (q guestQMP) pause() {
	q.h.t.Helper()
	g, err := q.h.vms.Live(soon(q.h.t), q.ref)
	require.NoError(q.h.t, err)
	require.NoError(q.h.t, qapi.Stop(soon(q.h.t), g.QMP()))
	_, err = q.h.vms.Wait(soon(q.h.t), q.ref, vm.Paused)
	require.NoError(q.h.t, err)
}

func (q guestQMP) cont() {
	q.h.t.Helper()
	g, err := q.h.vms.Live(soon(q.h.t), q.ref)
	require.NoError(q.h.t, err)
	require.NoError(q.h.t, qapi.Cont(soon(q.h.t), g.QMP()))
	_, err = q.h.vms.Wait(soon(q.h.t), q.ref, vm.Running)
	require.NoError(q.h.t, err)
}

func TestMemory(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(h.dir, "ro.img")
	require.NoError(t, os.WriteFile(raw, bytes.Repeat([]byte("r"), 1<<20), 0o600))
	h.boot(vm.Config{Name: "box", Memory: 256 * vm.MiB, Boot: vm.Boot{Kernel: "auto"}, Disks: []vm.Disk{
		{Name: "ro", Path: raw, ReadOnly: true},
		{Name: "first", Size: 64 * vm.MiB, Throttle: vm.Throttle{Rate: vm.GiB}},
		{Name: "second", Size: 64 * vm.MiB, Interface: vm.InterfaceSCSI},
	}})
	disks := []string{"/dev/vdb", "/dev/sda"}
	h.counter("box")
	t.Run("save, change and load", func(t *testing.T) { memoryRoundTrip(t, h.in(t), disks) })
	t.Run("a second, and back and forth", func(t *testing.T) { memoryTwo(t, h.in(t), disks) })
	t.Run("names", func(t *testing.T) { memoryNames(t, h.in(t)) })
	t.Run("running and paused", func(t *testing.T) { memoryStates(t, h.in(t)) })
	t.Run("connections", func(t *testing.T) { memoryConnections(t, h.in(t)) })
	t.Run("delete", func(t *testing.T) { memoryDelete(t, h.in(t), disks) })
}

func memoryRoundTrip(t *testing.T, h *house, disks []string) {
	h.mark("box", "one", disks...)
	saved := h.count("box")
	var told []snapshot.Progress
	tell := snapshot.OnProgress(func(p snapshot.Progress) { told = append(told, p) })
	s, err := h.snaps.Create(soon(t), "box", "one", tell, snapshot.Describe("the first"))
	require.NoError(t, err)
	h.requireState("box", vm.Running)
	require.Equal(t, snapshot.Progress{Step: "save", Done: 1, Total: 1}, told[len(told)-1])
	require.Equal(t, snapshot.Memory, s.Kind)
	require.Equal(t, snapshot.OK, s.Status)
	require.True(t, s.Memory)
	require.True(t, s.Current)
	require.Greater(t, s.Size, int64(10<<20))
	require.Less(t, s.Size, int64(300<<20))
	require.Positive(t, s.VMClock)
	require.Equal(t, "the first", s.Description)
	require.Len(t, s.Disks, 2)
	for i, name := range []string{"first", "second"} {
		require.Equal(t, name, s.Disks[i].Name)
		require.True(t, s.Disks[i].Present)
	}
	h.mark("box", "two", disks...)
	h.requireMark("box", "two", disks...)
	changed := h.count("box")
	require.NoError(t, h.snaps.Load(soon(t), "box", "one", tell))
	h.requireState("box", vm.Running)
	require.Equal(t, snapshot.Progress{Step: "load", Done: 1, Total: 1}, told[len(told)-1])
	h.requireMark("box", "one", disks...)
	again := h.count("box")
	require.GreaterOrEqual(t, again, saved)
	require.Less(t, again, changed+200, "the counter began anew where it was")
	_, err = h.snaps.Create(soon(t), "box", "one")
	require.ErrorIs(t, err, errors.ErrSnapshotExists)
}

func memoryTwo(t *testing.T, h *house, disks []string) {
	h.mark("box", "two", disks...)
	s, err := h.snaps.Create(soon(t), "box", "two")
	require.NoError(t, err)
	require.Equal(t, "one", s.Parent)
	for _, name := range []string{"one", "two", "two", "one", "two"} {
		require.NoError(t, h.snaps.Load(soon(t), "box", name))
		h.requireMark("box", name, disks...)
		inst, err := h.vms.Get(t.Context(), "box")
		require.NoError(t, err)
		require.Equal(t, name, inst.Snapshot)
	}
	require.Equal(t, []string{"one", "two"}, h.names("box"))
	require.ErrorIs(t, h.snaps.Load(soon(t), "box", "three"), errors.ErrSnapshotNotFound)
}

func memoryNames(t *testing.T, h *house) {
	for _, name := range []string{"-a", `"quoted" 'twice'`, " space ", "a,b=c", "$(rm x);`y`", "ü漢字🙂", strings.Repeat("n", 255)} {
		_, err := h.snaps.Create(soon(t), "box", name)
		require.NoError(t, err, name)
		require.NoError(t, h.snaps.Load(soon(t), "box", name), name)
		require.NoError(t, h.snaps.Delete(soon(t), "box", name), name)
	}
	require.Equal(t, []string{"one", "two"}, h.names("box"))
}

func memoryStates(t *testing.T, h *house) {
	for name, c := range map[string]struct {
		paused bool
		opts   []snapshot.Option
		then   vm.State
	}{
		"running":              {then: vm.Running},
		"paused":               {paused: true, then: vm.Paused},
		"running, then paused": {opts: []snapshot.Option{snapshot.ThenPause()}, then: vm.Paused},
		"paused, then running": {paused: true, opts: []snapshot.Option{snapshot.ThenRun()}, then: vm.Running},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			for _, do := range []func() error{
				func() error { _, err := h.snaps.Create(soon(t), "box", name, c.opts...); return err },
				func() error { return h.snaps.Load(soon(t), "box", name, c.opts...) },
			} {
				if c.paused {
					h.qmp("box").pause()
				}
				require.NoError(t, do())
				h.requireState("box", c.then)
				if c.then == vm.Paused {
					h.qmp("box").cont()
				}
			}
			h.count("box")
			require.NoError(t, h.snaps.Delete(soon(t), "box", name))
		})
	}
}

func memoryDelete(t *testing.T, h *house, disks []string) {
	_, err := h.snaps.Create(soon(t), "box", "three")
	require.NoError(t, err)
	require.NoError(t, h.snaps.Delete(soon(t), "box", "two"))
	list, err := h.snaps.List(soon(t), "box")
	require.NoError(t, err)
	require.Equal(t, []string{"one", "three"}, h.names("box"))
	require.Equal(t, "one", list[1].Parent)
	require.NoError(t, h.snaps.Delete(soon(t), "box", "three"))
	inst, err := h.vms.Get(t.Context(), "box")
	require.NoError(t, err)
	require.Equal(t, "one", inst.Snapshot)
	require.NoError(t, h.snaps.Load(soon(t), "box", "one"))
	h.requireMark("box", "one", disks...)
	require.NoError(t, h.snaps.Delete(soon(t), "box", "one"))
	require.Empty(t, h.names("box"))
	inst, err = h.vms.Get(t.Context(), "box")
	require.NoError(t, err)
	require.Empty(t, inst.Snapshot)
	h.requireMark("box", "one", disks...)
}

// TestMemoryWithoutDisks is with the default guest, which has no disk: an image of its own
// holds its memory.
func TestMemoryWithoutDisks(t *testing.T) {
	h := newHouse(t)
	inst := h.boot(vm.Config{Name: "box", Memory: 256 * vm.MiB})
	h.counter("box")
	h.mark("box", "one")
	s, err := h.snaps.Create(soon(t), "box", "one")
	require.NoError(t, err)
	require.Equal(t, snapshot.OK, s.Status)
	require.Greater(t, s.Size, int64(10<<20))
	h.mark("box", "two")
	_, err = h.snaps.Create(soon(t), "box", "two")
	require.NoError(t, err)
	for _, name := range []string{"one", "two", "one"} {
		require.NoError(t, h.snaps.Load(soon(t), "box", name))
		h.requireMark("box", name)
	}
	h.count("box")
	require.NoError(t, h.snaps.Delete(soon(t), "box", "one"))
	require.Equal(t, []string{"two"}, h.names("box"))
	_, err = h.vms.Stop(soon(t), "box", vm.Force())
	require.NoError(t, err)
	require.Equal(t, []string{"two"}, h.names("box"))

	t.Run("the next start continues from the memory", func(t *testing.T) {
		h := h.in(t)
		h.restoreNext("box", "two")
		h.start("box")
		h.requireMark("box", "two")
		h.count("box")
		inst, err := h.vms.Get(t.Context(), "box")
		require.NoError(t, err)
		require.Empty(t, inst.Restore)
		require.Equal(t, vm.StepRestore, inst.Steps[5].Name)
		require.NoError(t, h.snaps.Load(soon(t), "box", "two"))
		h.requireMark("box", "two")
	})
	require.NoError(t, h.vms.Remove(soon(t), "box", vm.ForceRemove()))
	require.NoDirExists(t, filepath.Join(h.dir, "images", inst.ID, "maqet-vmstate.qcow2"))
}

// restoreNext records what an offline load does.
func (h *house) restoreNext(ref, name string) {
	h.t.Helper()
	r, err := h.vms.Reserve(soon(h.t), ref)
	require.NoError(h.t, err)
	defer r.Release()
	require.NoError(h.t, r.Update(h.t.Context(), func(i *vm.Instance) { i.Restore = name }))
}

func memoryConnections(t *testing.T, h *house) {
	exec := func(ctx context.Context, line string) error {
		_, err := h.guests.Exec(ctx, "box", guest.Command{Args: []string{"sh", "-c", line}})
		return err
	}
	// during runs something in the guest for which it does not end, and fn when it has begun.
	during := func(t *testing.T, line string, fn func()) error {
		h.sh("box", "rm -f /tmp/begun")
		ended := make(chan error, 1)
		go func() { ended <- exec(soon(t), "touch /tmp/begun; "+line) }()
		h.sh("box", "while ! [ -e /tmp/begun ]; do sleep 0.02; done")
		fn()
		return <-ended
	}
	create := func(name string) {
		_, err := h.snaps.Create(soon(t), "box", name)
		require.NoError(t, err)
	}
	t.Run("a command goes on while the guest is saved", func(t *testing.T) {
		require.NoError(t, during(t, "while ! [ -e /tmp/go ]; do sleep 0.02; done", func() {
			create("busy")
			h.sh("box", "touch /tmp/go")
		}))
	})
	t.Run("a command ends when the guest is loaded", func(t *testing.T) {
		begun := time.Now()
		err := during(t, "sleep 1000", func() { require.NoError(t, h.snaps.Load(soon(t), "box", "busy")) })
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
		require.ErrorContains(t, err, "brought back to a snapshot")
		require.Less(t, time.Since(begun), time.Minute)
	})
	t.Run("what was saved in the middle of a command", func(t *testing.T) {
		require.NoError(t, h.snaps.Load(soon(t), "box", "busy"))
		require.Equal(t, "hello", h.sh("box", "echo hello"))
		_, err := h.guests.Agent(soon(t), "box", "guest-ping", nil)
		require.NoError(t, err)
		_, err = h.guests.Info(soon(t), "box")
		require.NoError(t, err)
		console, err := h.guests.Console("box")
		require.NoError(t, err)
		require.NoError(t, console.Send(soon(t), "echo con$((20+3))sole\n"))
		_, err = console.ExpectText(soon(t), "con23sole")
		require.NoError(t, err)
	})
	t.Run("what was saved in the middle of a copy", func(t *testing.T) {
		h.requireCopy(t, func() { create("copying") })
		for range 3 {
			require.NoError(t, h.snaps.Load(soon(t), "box", "copying"))
			require.Equal(t, "hello", h.sh("box", "echo hello"))
		}
		h.requireCopy(t, func() {})
	})
	t.Run("a copy ends when the guest is loaded", func(t *testing.T) {
		h := h.in(t)
		from := filepath.Join(t.TempDir(), "big")
		require.NoError(t, os.WriteFile(from, bytes.Repeat([]byte("0123456789abcdef"), 4<<20), 0o600))
		ended := make(chan error, 1)
		h.sh("box", "rm -rf /tmp/big*")
		go func() { ended <- h.guests.CopyTo(soon(t), "box", from, "/tmp/big") }()
		h.sh("box", "while [ -z \"$(ls -A /tmp | grep big)\" ] && ! [ -e /tmp/big ]; do :; done")
		require.NoError(t, h.snaps.Load(soon(t), "box", "busy"))
		if err := <-ended; err != nil { // else it was quicker
			require.ErrorIs(t, err, errors.ErrAgentUnavailable)
		}
		require.Equal(t, "hello", h.sh("box", "echo hello"))
	})
	t.Run("what was saved while nobody was connected", func(t *testing.T) {
		require.NoError(t, h.guests.Renew(soon(t), "box", "nothing"))
		create("alone")
		for range 3 {
			require.NoError(t, h.snaps.Load(soon(t), "box", "alone"))
			require.Equal(t, "hello", h.sh("box", "echo hello"))
		}
	})
	for _, name := range []string{"busy", "copying", "alone"} {
		require.NoError(t, h.snaps.Delete(soon(t), "box", name))
	}
}

// requireCopy copies a file into a guest and back; fn is called in the middle.
func (h *house) requireCopy(t *testing.T, fn func()) {
	t.Helper()
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "from"), content, 0o600))
	ended := make(chan error, 1)
	go func() { ended <- h.guests.CopyTo(soon(t), "box", filepath.Join(dir, "from"), "/tmp/copied") }()
	fn()
	require.NoError(t, <-ended)
	require.NoError(t, h.guests.CopyFrom(soon(t), "box", "/tmp/copied", filepath.Join(dir, "to")))
	got, err := os.ReadFile(filepath.Join(dir, "to"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	h.sh("box", "rm /tmp/copied")
}
