package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// script is a helper that runs a shell script; $0 is there so that a test finds it.
func script(h *house, name, text string) helperPlan {
	return helperPlan{name: name, log: name, args: []string{"/bin/sh", "-c", text, h.dir}}
}

// serves ends with its client, as virtiofsd and swtpm do; stubborn does not.
const (
	serves   = "cat <&3 >&2"
	stubborn = "trap '' TERM HUP; while :; do sleep 1000 & wait; done"
)

// plan is what build makes of spec, with helpers of the test's own.
func (h *house) plan(spec vm.LaunchSpec, helpers ...helperPlan) *builder {
	h.t.Helper()
	host, err := h.b.resolve(h.t.Context(), spec.Config)
	require.NoError(h.t, err)
	plan, err := build(spec, host, h.b.files(spec.ID))
	require.NoError(h.t, err)
	for _, p := range helpers {
		plan.add(keyed("chardev", p.name, "", "", "socket", "id", p.name, "fd", plan.helper(p)))
	}
	return plan
}

// launchWith starts a guest with helpers of the test's own.
func (h *house) launchWith(spec vm.LaunchSpec, helpers ...helperPlan) *guest {
	h.t.Helper()
	g, err := h.b.launch(h.t.Context(), h.plan(spec, helpers...))
	require.NoError(h.t, err)
	h.t.Cleanup(func() { h.end(g, spec) })
	return g
}

func requireHelpersGone(t testing.TB, rt vm.Runtime) {
	t.Helper()
	for _, r := range rt.Helpers {
		require.False(t, proc.Alive(proc.ID(r.Process)), "%s lives", r.Name)
	}
}

// TestHelpersEndWithQEMU: however QEMU ends, its helpers are gone and reaped when Done says
// so.
func TestHelpersEndWithQEMU(t *testing.T) {
	h := newHouse(t)
	for _, way := range []string{"quit", "sigterm", "sigkill"} {
		t.Run(way, func(t *testing.T) {
			h := &house{t: t, b: h.b, dir: h.dir}
			accepting := script(h, "accepts", "exec sleep 1000")
			accepting.listens = true
			g := h.launchWith(specOf(vm.Config{}), script(h, "serves", serves), script(h, "stubborn", stubborn), accepting)
			require.NoError(t, g.Connect(patient(t)))
			rt := g.Runtime()
			require.Len(t, rt.Helpers, 3)
			require.Equal(t, "stubborn", rt.Helpers[1].Name)
			for _, r := range rt.Helpers {
				require.True(t, proc.Alive(proc.ID(r.Process)))
				info, err := os.Stat(r.Log)
				require.NoError(t, err)
				require.Equal(t, os.FileMode(0o600), info.Mode())
			}
			require.Len(t, filesBelow(t, rt.Dir), len(rt.Sockets)+1, "sockets, and the lock of the monitor")
			require.NoError(t, rung(g, way).Run(patient(t)))
			gone(t, g.Done())
			for _, r := range rt.Helpers {
				require.NoDirExists(t, filepath.Join("/proc", fmtInt(r.Process.PID)), "reaped")
			}
			require.NotContains(t, g.cause().Error(), "stubborn", "that was not its fault")
		})
	}
}

// TestHelperSpeaksWithQEMU: what QEMU writes to its end arrives.
func TestHelperSpeaksWithQEMU(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{})
	plan := h.plan(spec, script(h, "reads", "head -c 6 <&3 >&2"))
	plan.add(keyed("mon", "", "", "chardev", "reads", "mode", "control")) // QEMU greets
	g, err := h.b.launch(t.Context(), plan)
	require.NoError(t, err)
	t.Cleanup(func() { h.end(g, spec) })
	require.NoError(t, g.Connect(patient(t)))
	gone(t, g.proc.helpers[0].done())
	require.Equal(t, `{"QMP"`, lastLine(g.runtime.Helpers[0].Log))
	require.False(t, g.proc.gone())
}

// TestHelperFails: how it ended and what it printed is in the error of whoever finds that
// QEMU has gone with it.
func TestHelperFails(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{})
	plan := h.plan(spec, script(h, "broken", "echo the disk is on fire >&2; exit 3"))
	plan.add(keyed("device", "", "", "", "vhost-user-fs-pci", "chardev", "broken", "tag", "x"))
	g, err := h.b.launch(t.Context(), plan)
	require.NoError(t, err)
	t.Cleanup(func() { h.end(g, spec) })
	err = g.Connect(patient(t))
	require.ErrorContains(t, err, "QEMU ended with exit status 1")
	require.ErrorContains(t, err, "broken ended with exit status 3: the disk is on fire")
}

// TestHelperCannotStart: nothing is left of a launch whose second helper does not exist.
func TestHelperCannotStart(t *testing.T) {
	h := newHouse(t)
	for name, broken := range map[string]helperPlan{
		"no program": {name: "missing", log: "missing", args: []string{"/nowhere/missing"}},
		"no file": {name: "missing", log: "missing", args: []string{"/bin/true"},
			open: func(context.Context) ([]*os.File, error) { return nil, errors.New("/nowhere/missing") }},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specOf(vm.Config{})
			plan := h.plan(spec, script(h, "first", stubborn), broken)
			fds := openFiles(t)
			_, err := h.b.launch(t.Context(), plan)
			require.ErrorIs(t, err, errors.ErrVMStart)
			require.ErrorContains(t, err, "missing")
			require.Empty(t, processesOf(t, h.dir))
			require.NoDirExists(t, plan.files.dir)
			require.NoDirExists(t, plan.files.logDir)
			require.Equal(t, fds, openFiles(t))
		})
	}
}

// TestHelpersOfAdoptedGuest: another process that works with the guest ends its helpers with
// it, and Clean those of one that nobody saw ending.
func TestHelpersOfAdoptedGuest(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{Lifetime: vm.Persistent})
	g := h.launchWith(spec, script(h, "stubborn", stubborn))
	require.NoError(t, g.Connect(patient(t)))
	inst := record(spec, g)
	other := h.open()
	adopted, err := other.Attach(patient(t), inst)
	require.NoError(t, err)
	require.Equal(t, inst.Runtime.Helpers, adopted.Runtime().Helpers)
	require.NoError(t, adopted.Release())
	require.NoError(t, other.Close())
	require.True(t, proc.Alive(proc.ID(inst.Runtime.Helpers[0].Process)), "who lets go ends nothing")

	require.NoError(t, h.b.Clean(t.Context(), vm.Instance{ID: spec.ID, Runtime: vm.Runtime{Helpers: []vm.Helper{
		{Name: "of another boot", Process: vm.Process{PID: inst.Runtime.Helpers[0].Process.PID}}}}}))
	require.True(t, proc.Alive(proc.ID(inst.Runtime.Helpers[0].Process)), "a PID is not enough")
	require.NoError(t, h.b.Clean(t.Context(), inst))
	requireHelpersGone(t, inst.Runtime)
}
