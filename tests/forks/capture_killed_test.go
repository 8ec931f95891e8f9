package forks_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Disks of the VM that is captured: one that maqet made and keeps, one that the user brought, and
// one that goes with its guest.
const (
	made    = "made"
	brought = "brought"
	fleet   = "fleet"
)

// TestCaptureKilled kills the process that captures at each step. The template is not there then,
// the guest goes on or has ended as is recorded, what is on its disks is intact, and all that
// was made of the template goes with a sweep.
func TestCaptureKilled(t *testing.T) {
	for _, lifetime := range []vm.Lifetime{vm.Ephemeral, vm.Persistent} {
		t.Run(string(lifetime), func(t *testing.T) {
			t.Parallel()
			steps := captureKilled(t, task{Do: "capture", Lifetime: lifetime})
			require.Len(t, steps, map[vm.Lifetime]int{vm.Ephemeral: 14, vm.Persistent: 15}[lifetime], "%q", steps)
			for i, step := range steps {
				if lifetime == vm.Persistent && i > 1 {
					i-- // the other one does not write its memory
				}
				if os.Getenv("MAQET_LONG") != "1" && (i%2 == 0) != (lifetime == vm.Ephemeral) {
					continue // the other one's
				}
				t.Run(strings.TrimPrefix(step, "capture: "), func(t *testing.T) {
					captureKilled(t, task{Do: "capture", Lifetime: lifetime, Die: step})
				})
			}
		})
	}
}

// captureKilled returns the steps that there were.
func captureKilled(t *testing.T, do task) []string {
	do.Dir = shortDir(t)
	p := open(t, do.Dir)
	p.addSubject()
	p.fill(1)
	worker := do.start(t)
	require.Equal(t, do.Die == "", worker.await())
	worker.kill()

	_, err := p.m.VM.Reconcile(t.Context())
	require.NoError(t, err)
	ended := !slices.Contains([]string{"capture: halt", "capture: save", "capture: write memory", "capture: end the guest"}, do.Die)
	p.requireTruth(!ended)
	if !ended {
		require.Equal(t, 1, p.memory(), "the guest goes on")
		require.Equal(t, 1, p.present(made, brought, fleet))
		_, err := p.m.VM.Stop(t.Context(), subject, vm.Force())
		require.NoError(t, err)
	}
	if do.Die == "" && do.Lifetime == vm.Persistent {
		p.requireWhole(template, 1)
	} else {
		p.sweep()
		list, err := p.m.Snapshot.Templates(t.Context())
		require.NoError(t, err)
		require.Empty(t, list)
	}

	p.startPaused()
	require.Equal(t, 1, p.present(made, brought))
	p.fill(2)
	_, err = p.m.VM.Stop(t.Context(), subject, vm.Force())
	require.NoError(t, err)
	p.sweep()
	p.startPaused()
	require.Equal(t, 2, p.present(made, brought))
	if do.Die == "" {
		p.captureAgain()
	}
	p.remove(subject)
	whole := do.Die == "" && do.Lifetime == vm.Persistent
	if whole {
		p.requireWhole(template, 1)
		require.ErrorContains(t, p.m.Snapshot.DeleteTemplate(t.Context(), template), "template second")
	}
	p.deleteLayers(do.Die == "")
	if whole {
		require.NoError(t, p.m.Snapshot.DeleteTemplate(t.Context(), template))
	}
	p.sweep()
	p.requireNothing()
	return worker.steps
}

// deleteLayers deletes what was written over the user's own image. It stays when the VM goes:
// without it that image would be of the past.
func (p *place) deleteLayers(second bool) {
	p.t.Helper()
	ctx := p.t.Context()
	files, err := p.m.Storage.Files(ctx, storage.FileFilter{})
	require.NoError(p.t, err)
	for _, f := range files {
		if !strings.HasPrefix(filepath.Base(f.Path), "layer-") {
			continue // a template's
		}
		require.Equal(p.t, brought, f.Disk)
		if second {
			err := p.m.Snapshot.DeleteTemplate(ctx, "second")
			require.ErrorIs(p.t, err, errors.ErrTemplateInUse)
			require.ErrorContains(p.t, err, f.Path)
		}
		require.NoError(p.t, p.m.Storage.Delete(ctx, f.Path))
	}
	if second {
		require.NoError(p.t, p.m.Snapshot.DeleteTemplate(ctx, "second"))
	}
}

// addSubject adds a VM without a system and starts it without letting its CPUs run.
func (p *place) addSubject() {
	p.t.Helper()
	path := filepath.Join(p.dir, "brought.qcow2")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "8M").CombinedOutput()
	require.NoError(p.t, err, "%s", out)
	gone := false
	_, err = p.m.VM.Add(p.t.Context(), vm.Config{Name: subject, Lifetime: vm.Persistent, Memory: 128 * vm.MiB, Template: true,
		Disks: []vm.Disk{{Name: made, Size: 8 * vm.MiB}, {Name: brought, Path: path}, {Name: fleet, Size: 8 * vm.MiB, Keep: &gone}}})
	require.NoError(p.t, err)
	p.startPaused()
}

func (p *place) startPaused() {
	p.t.Helper()
	_, err := p.m.VM.Start(p.t.Context(), subject, vm.StartPaused())
	require.NoError(p.t, err)
}

// requireTruth fails unless what is recorded of the VM is so.
func (p *place) requireTruth(live bool) {
	p.t.Helper()
	inst := p.get(subject)
	if !live {
		require.Equal(p.t, []any{vm.Stopped, vm.ReasonCaptured}, []any{inst.State, inst.Reason})
		require.Empty(p.t, processesOf(p.t, p.dir))
		return
	}
	status, err := qmp.Call[struct{ Running bool }](p.t.Context(), p.m.QMP, subject, "query-status", nil)
	require.NoError(p.t, err)
	require.Equal(p.t, status.Running, inst.State == vm.Running, inst.State)
	require.True(p.t, inst.State.Live(), inst.State)
}

// requireWhole forks a template: it has what the guest had.
func (p *place) requireWhole(name string, generation int) {
	p.t.Helper()
	ctx := p.t.Context()
	f, err := p.m.Fork(ctx, name, snapshot.Alike(), snapshot.ForkStart(vm.StartPaused()))
	require.NoError(p.t, err)
	other := *p
	other.ref = f.Name()
	require.Equal(p.t, generation, other.memory())
	require.Equal(p.t, generation, other.present(made, brought))
	require.NoError(p.t, f.Remove(ctx, vm.ForceRemove()))
}

// captureAgain captures the VM once more, which goes on above the template, and begins to.
func (p *place) captureAgain() {
	p.t.Helper()
	ctx := p.t.Context()
	p.fill(2)
	_, err := p.m.Snapshot.Capture(ctx, subject, "second", snapshot.KeepTemplate(vm.Persistent))
	require.NoError(p.t, err)
	p.requireWhole("second", 2)
	require.ErrorContains(p.t, p.m.Snapshot.DeleteTemplate(ctx, "second"), "VM "+subject)
	p.startPaused()
	require.Equal(p.t, 2, p.present(made, brought))
	_, err = p.m.VM.Stop(ctx, subject, vm.Force())
	require.NoError(p.t, err)
	p.requireWhole("second", 2)
	if _, err := p.m.Snapshot.Template(ctx, template); err == nil {
		p.requireWhole(template, 1)
	}
}

// monitor has the live guest's human monitor do something.
func (p *place) monitor(line string) string {
	p.t.Helper()
	out, err := p.m.QMP.HMP(qmp.AllowDangerous(p.t.Context()), p.ref, line)
	require.NoError(p.t, err)
	return out
}

// device is a disk of a live guest.
type device struct {
	Qdev     string
	Inserted *struct {
		Image struct{ Filename string }
	}
}

// devices returns those of the live guest, by name.
func (p *place) devices() map[string]device {
	p.t.Helper()
	list, err := qmp.Call[[]device](p.t.Context(), p.m.QMP, p.ref, "query-block", nil)
	require.NoError(p.t, err)
	found := map[string]device{}
	for _, name := range []string{made, brought, fleet} {
		for _, b := range list {
			if b.Qdev == name || strings.Contains(b.Qdev, "/"+name+"/") {
				found[name] = b
			}
		}
	}
	require.Len(p.t, found, 3, "%+v", list)
	return found
}

// clockByte is a byte of the clock's memory that firmware leaves alone.
const clockByte = 0x60

// fill writes a generation to the disks and into the memory of the clock.
func (p *place) fill(generation int) {
	p.t.Helper()
	for _, d := range p.devices() {
		p.monitor(fmt.Sprintf("qemu-io -d %s \"write -P %d 0 64k\"", d.Qdev, generation))
		p.monitor(fmt.Sprintf("qemu-io -d %s flush", d.Qdev))
	}
	p.monitor(fmt.Sprintf("o /b 0x70 %d", clockByte))
	p.monitor(fmt.Sprintf("o /b 0x71 %d", generation))
	require.Equal(p.t, generation, p.memory())
	require.Equal(p.t, generation, p.present(made, brought, fleet))
}

// memory returns the generation in the memory of the live guest.
func (p *place) memory() int {
	p.t.Helper()
	p.monitor(fmt.Sprintf("o /b 0x70 %d", clockByte))
	var port, value int
	_, err := fmt.Sscanf(strings.TrimSpace(p.monitor("i /b 0x71")), "portb[0x%x] = 0x%x", &port, &value)
	require.NoError(p.t, err)
	return value
}

// present returns the generation that is on all of these disks; -1: none is.
func (p *place) present(disks ...string) int {
	p.t.Helper()
	devices := p.devices()
	for generation := 1; generation <= 2; generation++ {
		all := true
		for _, name := range disks { // a read by the monitor would say nothing
			out, _ := exec.Command("qemu-io", "-r", "-U", "-f", "qcow2", "-c", fmt.Sprintf("read -P %d 0 64k", generation),
				devices[name].Inserted.Image.Filename).CombinedOutput() // fails with another pattern
			require.Contains(p.t, string(out), "read 65536/65536")
			all = all && !strings.Contains(string(out), "Pattern verification failed")
		}
		if all {
			return generation
		}
	}
	return -1
}
