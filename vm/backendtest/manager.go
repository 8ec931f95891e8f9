package backendtest

import (
	"context"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func testManagerStart(p *place) {
	h := p.house(nil)
	inst := h.add(vm.Config{})
	h.is(inst.ID, vm.Created, vm.ReasonAdded)
	events, err := h.Watch(p.Context())
	require.NoError(p, err)

	inst, err = h.Start(p.patient(), inst.ID)
	require.NoError(p, err)
	require.Equal(p, vm.Running, inst.State)
	require.Equal(p, vm.ReasonStarted, inst.Reason)
	require.Equal(p, []string{vm.StepValidate, vm.StepLock, vm.StepImages, vm.StepLaunch, vm.StepHandshake, vm.StepContinue, vm.StepReady}, stepNames(inst))
	_, err = h.Start(p.patient(), inst.ID)
	require.ErrorIs(p, err, errors.ErrVMAlreadyRunning)

	report, err := h.Stop(p.patient(), inst.ID, vm.Force())
	require.NoError(p, err)
	require.Len(p, report.Tried, 1)
	require.Equal(p, report.Tried[0].Step, report.Step)
	require.Contains(p, []string{"sigkill", "destroy"}, report.Step)
	require.False(p, report.Graceful)
	inst = h.is(inst.ID, vm.Stopped, vm.ReasonStopped+": "+report.Step)

	var states []vm.State
	for _, ev := range h.changes(events, inst.ID, vm.Stopped) {
		if ev.From != ev.To {
			states = append(states, ev.To)
		}
	}
	require.Equal(p, []vm.State{vm.Starting, vm.Running, vm.Stopping, vm.Stopped}, states)

	report, err = h.Stop(p.patient(), inst.ID)
	require.NoError(p, err)
	require.Equal(p, "none", report.Step)
}

func stepNames(inst vm.Instance) (names []string) {
	for _, s := range inst.Steps {
		names = append(names, s.Name)
	}
	return names
}

// testManagerPause: who halts the guest or continues it, through QMP or behind our back, is
// seen.
func testManagerPause(p *place) {
	h := p.house(nil)
	inst := h.paused(vm.Config{})
	require.Equal(p, vm.Paused, inst.State)
	require.Equal(p, vm.ReasonStarted, inst.Reason)
	other := h.other()
	for _, m := range []*vm.Manager{h.Manager, other} {
		conn, err := m.QMP(p.patient(), inst.ID)
		require.NoError(p, err)
		_, err = conn.Execute(p.patient(), "cont", nil)
		require.NoError(p, err)
		require.Equal(p, vm.ReasonResumed, h.becomes(h.Manager, inst.ID, vm.Running).Reason)
		_, err = conn.Execute(p.patient(), "stop", nil)
		require.NoError(p, err)
		require.Equal(p, vm.ReasonPaused, h.becomes(other, inst.ID, vm.Paused).Reason)
	}
}

// testManagerStopHalted: a guest that can't hear is ended around.
func testManagerStopHalted(p *place) {
	h := p.house(nil)
	inst := h.paused(vm.Config{})
	report, err := h.Stop(p.patient(), inst.ID, vm.StopTimeout(1e9))
	require.NoError(p, err)
	require.False(p, report.Graceful)
	require.Contains(p, []string{"quit", "sigterm", "sigkill", "destroy"}, report.Step)
	require.Equal(p, report.Step, report.Tried[len(report.Tried)-1].Step)
	for _, tried := range report.Tried[:len(report.Tried)-1] {
		require.NotEmpty(p, tried.Err, tried.Step)
	}
	h.is(inst.ID, vm.Stopped, vm.ReasonStopped+": "+report.Step)
}

// testManagerStopAsked: a guest that hears its power button goes by itself.
func testManagerStopAsked(p *place) {
	h := p.house(nil)
	inst, _ := h.pcVM(vm.Config{})
	report, err := h.Stop(p.patient(), inst.ID)
	require.NoError(p, err)
	require.Equal(p, "acpi", report.Step, "%+v", report)
	require.True(p, report.Graceful)
	h.is(inst.ID, vm.Stopped, vm.ReasonStopped+": acpi")
	inst, err = h.Start(p.patient(), inst.ID, vm.StartPaused())
	require.NoError(p, err, "a second start")
	require.False(p, inst.Unclean)
}

func testManagerRemove(p *place) {
	before := p.left()
	h := p.house(nil)
	inst := h.paused(vm.Config{Disks: h.disks()})
	require.ErrorIs(p, h.Remove(p.patient(), inst.ID), errors.ErrIllegalTransition)
	require.NoError(p, h.Remove(p.patient(), inst.ID, vm.ForceRemove(), vm.DeleteImages()))
	_, err := h.Get(p.patient(), inst.ID)
	require.ErrorIs(p, err, errors.ErrVMNotFound)
	require.ElementsMatch(p, before, p.left())

	inst = h.paused(vm.Config{Lifetime: h.lifetime(), Disks: h.disks()})
	_, err = h.Stop(p.patient(), inst.ID, vm.Force())
	require.NoError(p, err)
	require.NoError(p, h.Remove(p.patient(), inst.ID, vm.DeleteImages()))
	require.ElementsMatch(p, before, p.left())
}

// disks is one, where the backend has them.
func (h *house) disks() []vm.Disk {
	if h.lacks(System) {
		return nil
	}
	return []vm.Disk{{Size: vm.MiB}}
}

// lifetime is that of VMs that outlive their process, where the backend has them.
func (h *house) lifetime() vm.Lifetime {
	if h.lacks(Persistence) {
		return vm.Ephemeral
	}
	return vm.Persistent
}

func testManagerApply(p *place) {
	h := p.house(nil)
	cfg := h.spec(vm.Config{}).Config
	inst, err := h.Apply(p.patient(), cfg)
	require.NoError(p, err)
	_, err = h.Start(p.patient(), inst.ID, vm.StartPaused())
	require.NoError(p, err)
	again, err := h.Apply(p.patient(), cfg)
	require.NoError(p, err)
	require.Equal(p, vm.Paused, again.State)
	cfg.Memory = 64 * vm.MiB
	_, err = h.Apply(p.patient(), cfg)
	require.ErrorIs(p, err, errors.ErrIllegalTransition)

	_, err = h.Stop(p.patient(), inst.ID, vm.Force())
	require.NoError(p, err)
	_, err = h.Apply(p.patient(), cfg)
	require.NoError(p, err)
	_, err = h.Start(p.patient(), inst.ID, vm.StartPaused())
	require.NoError(p, err, "with another configuration")
	h.lives(h.liveGuest(inst.ID))
}

func (h *house) liveGuest(ref string) vm.Guest {
	h.Helper()
	g, err := h.Live(h.patient(), ref)
	require.NoError(h, err)
	return g
}

// testManagerSeesTheEnd: a guest that is killed behind our back is noticed by everybody who
// waits for it, watches it or works in it, in every process.
func testManagerSeesTheEnd(p *place) {
	h := p.house(nil)
	inst := h.paused(vm.Config{})
	other := h.other()
	require.Equal(p, vm.Paused, h.becomes(other, inst.ID, vm.Paused).State)
	_, err := other.Live(p.patient(), inst.ID)
	require.NoError(p, err)
	events, err := h.Watch(p.Context())
	require.NoError(p, err)
	guarded, release, err := h.Guard(p.Context(), inst.ID)
	require.NoError(p, err)
	defer release()

	p.h.Kill(p, inst)
	for _, m := range []*vm.Manager{h.Manager, other} {
		now := h.becomes(m, inst.ID)
		if p.lacks(Causes) {
			continue
		}
		require.Equal(p, vm.Failed, now.State)
		require.True(p, strings.HasPrefix(now.Reason, vm.ReasonQEMUExited), now.Reason)
		require.True(p, now.Unclean, "nobody knows what it had written")
	}
	now, err := h.Get(p.patient(), inst.ID)
	require.NoError(p, err)
	h.changes(events, inst.ID, now.State)
	h.ends(guarded, errors.ErrVMNotRunning)
	_, err = h.Live(p.patient(), inst.ID)
	require.ErrorIs(p, err, errors.ErrVMNotRunning)

	_, err = h.Start(p.patient(), inst.ID, vm.StartPaused())
	require.NoError(p, err, "it can be started again")
}

// ends fails unless ctx ends for that reason.
func (h *house) ends(ctx context.Context, kind error) {
	h.Helper()
	select {
	case <-ctx.Done():
		require.ErrorIs(h, context.Cause(ctx), kind)
	case <-h.patient().Done():
		require.Fail(h, "the guard did not end")
	}
}

// testManagerGuestEnds: what the guest does itself is told as such.
func testManagerGuestEnds(p *place) {
	h := p.house(nil)
	inst, g := h.pcVM(vm.Config{})
	console := p.dial(g, vm.ChannelConsole)
	p.say(console, pcReset)
	p.readUntil(console, pcBanner)
	h.is(inst.ID, vm.Running, vm.ReasonStarted)

	p.say(console, pcPowerOff)
	now := h.becomes(h.Manager, inst.ID)
	require.Equal(p, vm.Stopped, now.State)
	require.Equal(p, vm.ReasonGuestShutdown, now.Reason)
	require.False(p, now.Unclean)
}

// testManagerPanicText: Linux without a panic device says on the console that it panicked.
func testManagerPanicText(p *place) {
	h := p.house(nil)
	inst, g := h.pcVM(vm.Config{})
	guarded, release, err := h.Guard(p.Context(), inst.ID)
	require.NoError(p, err)
	defer release()
	p.say(p.dial(g, vm.ChannelConsole), "\nKernel panic - not syncing: a test\n")
	h.ends(guarded, errors.ErrGuestPanic)
}

func testManagerPanicDevice(p *place) {
	h := p.house(nil)
	inst, g := h.pcVM(vm.Config{PVPanic: true})
	p.say(p.dial(g, vm.ChannelConsole), pcCrash)
	now := h.becomes(h.Manager, inst.ID)
	require.Equal(p, vm.Failed, now.State)
	require.Equal(p, vm.ReasonGuestPanic, now.Reason)
}
