package snapshot_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// conn returns the control channel of a live guest.
func (h *house) conn(ref string) qmp.Conn {
	h.t.Helper()
	g, err := h.vms.Live(soon(h.t), ref)
	require.NoError(h.t, err)
	return g.QMP()
}

// qemuIO is the monitor's command for a disk as its device uses it.
const qemuIO = "qemu-io -d /machine/peripheral/data/virtio-backend "

// fill has QEMU itself write a pattern to the disk: the guest's CPUs need not run.
func (h *house) fill(pattern string) {
	h.t.Helper()
	for _, command := range []string{"write -P " + pattern + " 0 1M", "flush"} {
		_, err := h.conn("box").Execute(soon(h.t), "human-monitor-command", map[string]string{"command-line": qemuIO + "\"" + command + "\""})
		require.NoError(h.t, err)
	}
	require.True(h.t, h.filled(pattern))
}

// filled reports whether the disk has a pattern.
func (h *house) filled(pattern string) bool {
	h.t.Helper()
	inst, err := h.vms.Get(soon(h.t), "box")
	require.NoError(h.t, err)
	image := filepath.Join(h.dir, "images", inst.ID, "data.qcow2")
	_, err = h.conn("box").Execute(soon(h.t), "human-monitor-command", map[string]string{"command-line": qemuIO + "flush"})
	require.NoError(h.t, err)
	out, err := exec.Command("qemu-io", "-r", "-U", "-f", "qcow2", "-c", "read -P "+pattern+" 0 1M", image).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		require.Contains(h.t, string(out), "Pattern verification failed")
		return false
	}
	require.NoError(h.t, err)
	return true
}

func (h *house) kill(ref string) {
	h.t.Helper()
	inst, err := h.vms.Get(soon(h.t), ref)
	require.NoError(h.t, err)
	require.NoError(h.t, syscall.Kill(inst.Runtime.Process.PID, syscall.SIGKILL))
	_, err = h.vms.Wait(soon(h.t), ref, vm.Failed)
	require.NoError(h.t, err)
}

// TestMemoryKilled kills QEMU at each step, and while its job runs. The guest is halted and
// never ran: it is what QEMU saves and loads all the same.
func TestMemoryKilled(t *testing.T) {
	h := newHouse(t)
	inst, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 128 * vm.MiB, Lifetime: vm.Persistent,
		Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.NoError(t, err)
	image := filepath.Join(h.dir, "images", inst.ID, "data.qcow2")
	start := func() { h.t.Helper(); h.start("box", vm.StartPaused()) }
	start()
	h.fill("1")
	_, err = h.snaps.Create(soon(t), "box", "old")
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"create", func(ctx context.Context) error { _, err := h.snaps.Create(ctx, "box", "new"); return err }},
		{"load", func(ctx context.Context) error { return h.snaps.Load(ctx, "box", "old") }},
		{"delete", func(ctx context.Context) error { return h.snaps.Delete(ctx, "box", "new") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := h.in(t)
			prepare := func() {
				if names := h.names("box"); c.name == "delete" && len(names) == 1 {
					_, err := h.snaps.Create(soon(t), "box", "new")
					require.NoError(t, err)
				} else if c.name == "create" && len(names) == 2 {
					require.NoError(t, h.snaps.Delete(soon(t), "box", "new"))
				}
				h.fill("2")
			}
			prepare()
			steps := h.steps(c.do)
			for n := range len(steps) + 1 {
				prepare()
				var err error
				if n < len(steps) {
					err = h.at(n, c.do, func() { h.kill("box") })
				} else {
					err = h.killInJob(c.do)
				}
				h.settle("box")
				_, waitErr := h.vms.Wait(soon(t), "box", vm.Failed)
				require.NoError(t, waitErr)
				start()
				names := h.names("box") // which are whole
				require.Contains(t, names, "old")
				if err == nil {
					require.Equal(t, c.name == "create", len(names) == 2, "what was reported is so")
				}
				if c.name != "load" || !h.filled("1") {
					require.True(h.t, h.filled("2"))
				}
				require.NoError(t, h.snaps.Load(soon(t), "box", "old"))
				require.True(h.t, h.filled("1"))
			}
		})
	}
	_, err = h.vms.Stop(soon(t), "box", vm.Force())
	require.NoError(t, err)
	out, err := exec.Command("qemu-img", "check", image).CombinedOutput()
	require.NoError(t, err, "%s", out)
	h.start("box")
	require.Equal(t, "hello", h.sh("box", "echo hello"))
}

// killInJob runs do, and kills QEMU when its job has begun.
func (h *house) killInJob(do func(ctx context.Context) error) error {
	h.t.Helper()
	sub := h.conn("box").Subscribe(qapi.EventJobStatusChange)
	ended := make(chan error, 1)
	go func() { ended <- do(soon(h.t)) }()
	for ev := range sub.C() {
		var change qapi.JobStatusChangeEvent
		require.NoError(h.t, ev.Decode(&change))
		if change.Status == qapi.JobStatusRunning {
			h.kill("box")
			break
		}
	}
	sub.Close()
	err := <-ended
	return err
}

// TestMemoryLoadThatFails has QEMU fail in the middle of a load: the disks are loaded then, and
// the machine only in part.
func TestMemoryLoadThatFails(t *testing.T) {
	h := newHouse(t)
	h.boot(vm.Config{Name: "box", Memory: 128 * vm.MiB, Lifetime: vm.Persistent, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	h.mark("box", "old", "/dev/vda")
	_, err := h.snaps.Create(soon(t), "box", "old")
	require.NoError(t, err)
	h.mark("box", "new", "/dev/vda")
	_, err = h.conn("box").Execute(soon(t), "chardev-add", map[string]any{"id": "odd", "backend": map[string]any{"type": "null", "data": map[string]any{}}})
	require.NoError(t, err)
	_, err = h.conn("box").Execute(soon(t), "device_add", map[string]string{"driver": "virtserialport", "id": "odd", "chardev": "odd", "name": "odd"})
	require.NoError(t, err) // a device that maqet knows nothing of, and the snapshot neither
	err = h.snaps.Load(soon(t), "box", "old")
	require.ErrorIs(t, err, errors.ErrSnapshot)
	var failure *errors.QMPError
	require.ErrorAs(t, err, &failure)
	require.Equal(t, "snapshot-load", failure.Command)
	inst, err := h.vms.Get(t.Context(), "box")
	require.NoError(t, err)
	require.Equal(t, vm.Failed, inst.State)
	require.Equal(t, vm.ReasonLoadFailed+": old", inst.Reason)
	require.Equal(t, []string{"old"}, h.names("box"))
	h.start("box")
	require.Equal(t, "old", h.sh("box", "head -c 3 /dev/vda"), "the disk is the snapshot's")
	require.NoError(t, h.snaps.Load(soon(t), "box", "old"), "into a machine that it fits")
	h.requireMark("box", "old", "/dev/vda")
}

// TestRestoreThatFails starts a VM from memory that does not fit any more.
func TestRestoreThatFails(t *testing.T) {
	h := newHouse(t)
	_, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 128 * vm.MiB, Lifetime: vm.Persistent})
	require.NoError(t, err)
	h.start("box", vm.StartPaused())
	_, err = h.snaps.Create(soon(t), "box", "old")
	require.NoError(t, err)
	_, err = h.vms.Stop(soon(t), "box", vm.Force())
	require.NoError(t, err)
	require.NoError(t, h.snaps.Load(soon(t), "box", "old"))
	inst, err := h.vms.Get(t.Context(), "box")
	require.NoError(t, err)
	require.Equal(t, "old", inst.Restore)
	files, err := h.images.Snapshots(t.Context(), filepath.Join(h.dir, "images", inst.ID, "maqet-vmstate.qcow2"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	h.start("box", vm.StartPaused())
	_, err = h.vms.Stop(soon(t), "box", vm.Force())
	require.NoError(t, err)

	require.NoError(t, h.snaps.Load(soon(t), "box", "old"))
	require.NoError(t, h.images.DeleteSnapshot(t.Context(), filepath.Join(h.dir, "images", inst.ID, "maqet-vmstate.qcow2"), "old"))
	_, err = h.vms.Start(soon(t), "box", vm.StartPaused())
	var failed *errors.StartError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, vm.StepRestore, failed.Step)
	inst, err = h.vms.Get(t.Context(), "box")
	require.NoError(t, err)
	require.Equal(t, vm.Failed, inst.State)
	require.Equal(t, "old", inst.Restore)
	h.start("box", vm.StartPaused(), vm.ColdBoot())
	inst, err = h.vms.Get(t.Context(), "box")
	require.NoError(t, err)
	require.Empty(t, inst.Restore)
}

// TestLoadDisksIntoLiveVM loads a snapshot without memory into a live VM.
func TestLoadDisksIntoLiveVM(t *testing.T) {
	h := newHouse(t)
	_, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 128 * vm.MiB, Lifetime: vm.Persistent,
		Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.NoError(t, err)
	h.start("box", vm.StartPaused())
	h.fill("1")
	_, err = h.vms.Stop(soon(t), "box")
	require.NoError(t, err)
	_, err = h.snaps.Create(soon(t), "box", "disks")
	require.NoError(t, err)
	h.start("box", vm.StartPaused())
	h.fill("2")
	before := h.conn("box")
	require.NoError(t, h.snaps.Load(soon(t), "box", "disks"))
	require.NotEqual(t, before, h.conn("box"), "another QEMU")
	h.requireState("box", vm.Paused)
	require.True(h.t, h.filled("1"))
	require.NoError(t, h.snaps.Load(soon(t), "box", "disks", snapshot.ThenRun()))
	h.requireState("box", vm.Running)
	require.True(h.t, h.filled("1"))
	require.NoError(t, h.snaps.Delete(soon(t), "box", "disks"))
	require.Empty(t, h.names("box"))
	h.requireState("box", vm.Running)
}
