package backendtest

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// testManagerStartFails: whatever step fails, nothing is left of the start but its record,
// and the VM can be started again.
func testManagerStartFails(p *place) {
	boot := &booter{}
	if !p.lacks(PC) {
		boot.files = p.pcBoot()
	}
	h := p.house(boot)
	before := p.left()
	inst := h.add(vm.Config{Disks: h.disks()})
	kill := func() {
		now, err := h.Get(p.patient(), inst.ID)
		require.NoError(p, err)
		p.h.Kill(p, now)
	}
	for name, c := range map[string]struct {
		steps []string // where it may fail
		boot  *booter
		opts  []vm.StartOption
		needs Feature
	}{
		"no kernel":      {steps: []string{vm.StepImages}, boot: &booter{err: errors.ErrKernelNotFound}},
		"no such kernel": {steps: []string{vm.StepLaunch, vm.StepHandshake}, boot: &booter{files: vm.BootFiles{Kernel: filepath.Join(h.dir, "none")}}, needs: PC},
		"killed before QMP": {steps: []string{vm.StepHandshake, vm.StepContinue, vm.StepReady},
			opts: []vm.StartOption{begins(vm.StepHandshake, kill), vm.WaitFor(failing{})}},
		"killed before it runs": {steps: []string{vm.StepContinue, vm.StepReady},
			opts: []vm.StartOption{begins(vm.StepContinue, kill), vm.WaitFor(failing{})}},
		"killed later": {steps: []string{vm.StepReady}, opts: []vm.StartOption{begins(vm.StepReady, kill), vm.WaitFor(failing{})}},
		"never ready":  {steps: []string{vm.StepReady}, opts: []vm.StartOption{vm.WaitFor(failing{err: errors.ErrGuest})}},
	} {
		if c.needs != "" && p.lacks(c.needs) {
			continue
		}
		good := *boot
		if c.boot != nil {
			*boot = *c.boot
		}
		_, err := h.Start(p.patient(), inst.ID, c.opts...)
		*boot = good
		var failed *errors.StartError
		require.ErrorAs(p, err, &failed, name)
		require.Contains(p, c.steps, failed.Step, "%s: %v", name, err)
		h.is(inst.ID, vm.Failed, vm.ReasonStartFailed+": "+failed.Step)
		h.nothingRuns(before, name)
	}
	_, err := h.Start(p.patient(), inst.ID, vm.StartPaused())
	require.NoError(p, err)
}

// nothingRuns fails if there is more than the logs of a VM that is not live, which Remove
// takes.
func (h *house) nothingRuns(before []string, why string) {
	h.Helper()
	list, err := h.List(h.patient(), vm.Filter{})
	require.NoError(h, err)
	for _, inst := range list {
		got, err := h.b.Attach(h.patient(), inst)
		h.notRunning(got, err)
		require.NoError(h, h.b.Erase(h.patient(), inst))
	}
	require.ElementsMatch(h, before, h.left(), why)
}

// testManagerStartCancelled: a start that is cancelled at any step is undone.
func testManagerStartCancelled(p *place) {
	h := p.house(nil)
	before := p.left()
	inst := h.add(vm.Config{})
	for _, step := range []string{vm.StepImages, vm.StepLaunch, vm.StepHandshake, vm.StepContinue, vm.StepReady} {
		ctx, cancel := context.WithCancel(p.patient())
		_, err := h.Start(ctx, inst.ID, begins(step, cancel), vm.WaitFor(failing{}))
		cancel()
		require.ErrorIs(p, err, context.Canceled, step)
		now, err := h.Get(p.patient(), inst.ID)
		require.NoError(p, err)
		require.Equal(p, vm.Failed, now.State, step)
		h.nothingRuns(before, step)
	}
}

// testManagerStopsStart: Stop ends a start that is under way.
func testManagerStopsStart(p *place) {
	h := p.house(nil)
	inst := h.add(vm.Config{})
	waits, started := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := h.Start(p.patient(), inst.ID, begins(vm.StepReady, func() { close(waits) }), vm.WaitFor(failing{}))
		started <- err
	}()
	select {
	case <-waits:
	case err := <-started:
		require.Fail(p, "the start ended", "%v", err)
	}
	_, err := h.Stop(p.patient(), inst.ID)
	require.NoError(p, err)
	require.ErrorIs(p, <-started, context.Canceled)
	now, err := h.Get(p.patient(), inst.ID)
	require.NoError(p, err)
	require.False(p, now.State.Live())
}

// testManagerStartAtOnce: of many processes that start a VM one does.
func testManagerStartAtOnce(p *place) {
	h := p.house(nil)
	inst := h.add(vm.Config{})
	managers := []*vm.Manager{h.Manager, h.other(), h.other()}
	var won atomic.Int32
	together(2*len(managers), func(i int) {
		_, err := managers[i/2].Start(p.patient(), inst.ID, vm.StartPaused())
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, errors.ErrVMAlreadyRunning):
			p.Errorf("Start: %v", err)
		}
	})
	require.EqualValues(p, 1, won.Load())
	h.lives(h.liveGuest(inst.ID))
	together(len(managers), func(i int) {
		if _, err := managers[i].Stop(p.patient(), inst.ID, vm.Force()); err != nil {
			p.Errorf("Stop: %v", err)
		}
	})
	require.Equal(p, vm.Stopped, h.becomes(h.Manager, inst.ID).State)
}

// testManagerAdopts: a persistent guest goes on without the process that started it, and the
// next one works with it.
func testManagerAdopts(p *place) {
	h := p.house(nil)
	b := p.open()
	first := h.manager(b)
	inst, err := first.Start(p.patient(), h.add(vm.Config{Lifetime: vm.Persistent}).ID)
	require.NoError(p, err)
	require.NoError(p, first.Close())
	require.NoError(p, b.Close())

	second := h.other()
	_, err = second.Reconcile(p.patient())
	require.NoError(p, err)
	now := h.is(inst.ID, vm.Running, vm.ReasonStarted)
	require.Equal(p, inst.Runtime, now.Runtime)
	g, err := second.Live(p.patient(), inst.ID)
	require.NoError(p, err)
	require.True(p, p.running(g))
	_, err = second.Stop(p.patient(), inst.ID, vm.Force())
	require.NoError(p, err)
	h.becomes(h.Manager, inst.ID, vm.Stopped)
}

// testManagerBuries: nobody saw the guest going.
func testManagerBuries(p *place) {
	h := p.house(nil)
	b := p.open()
	first := h.manager(b)
	inst, err := first.Start(p.patient(), h.add(vm.Config{Lifetime: vm.Persistent}).ID, vm.StartPaused())
	require.NoError(p, err)
	require.NoError(p, first.Close())
	require.NoError(p, b.Close())
	p.h.Kill(p, inst)
	p.await("the guest to go", func() bool {
		got, err := p.b.Attach(p.patient(), inst)
		if err == nil {
			_ = got.Release()
		}
		return errors.Is(err, errors.ErrVMNotRunning)
	})

	changed, err := h.Reconcile(p.patient())
	require.NoError(p, err)
	require.Len(p, changed, 1)
	now := h.is(inst.ID, vm.Failed, vm.ReasonVanished)
	require.True(p, now.Unclean)
	_, err = h.Start(p.patient(), inst.ID, vm.StartPaused())
	require.NoError(p, err)
}

// await waits for what is no event to anybody.
func (p *place) await(what string, holds func() bool) {
	p.Helper()
	for end := time.Now().Add(p.patience); !holds(); time.Sleep(quiet / 10) {
		require.True(p, time.Now().Before(end), "waited for %s", what)
	}
}

// testManagerFinishesStart: a process that started a persistent VM died before it could say
// so, and let it run.
func testManagerFinishesStart(p *place) {
	h := p.house(nil)
	g := p.halted(vm.Config{Lifetime: h.lifetime()})
	inst := h.orphan(g, h.lifetime())
	_, err := h.store.Create(p.patient(), inst)
	require.NoError(p, err)
	changed, err := h.other().Reconcile(p.patient())
	require.NoError(p, err)
	require.Len(p, changed, 1)
	h.is(inst.ID, vm.Running, vm.ReasonAdopted)
	require.True(p, p.running(h.liveGuest(inst.ID)))
}

// testManagerRemovesOrphans: the process that started an ephemeral VM died, and the guest is
// still there.
func testManagerRemovesOrphans(p *place) {
	h := p.house(nil)
	g := p.halted(vm.Config{})
	inst := h.orphan(g, vm.Ephemeral)
	_, err := h.store.Create(p.patient(), inst)
	require.NoError(p, err)
	_, err = h.other().Reconcile(p.patient())
	require.NoError(p, err)
	_, err = h.Get(p.patient(), inst.ID)
	require.ErrorIs(p, err, errors.ErrVMNotFound)
	p.gone(g)
}

// orphan returns the record that a process left that died while it started a guest.
func (h *house) orphan(g *launched, lifetime vm.Lifetime) vm.Instance {
	h.Helper()
	self, err := proc.Self()
	require.NoError(h, err)
	self.StartTime = 1 // the PID was another process's then
	inst := g.inst(h)
	inst.State, inst.Runtime, inst.Owner, inst.Config.Lifetime = vm.Starting, vm.Runtime{}, vm.Process(self), lifetime
	return inst
}

// testManagerCloses: Close lets go of guests, and ends what waits for them.
func testManagerCloses(p *place) {
	h := p.house(nil)
	inst := h.paused(vm.Config{})
	second := h.other()
	g, err := second.Live(p.patient(), inst.ID)
	require.NoError(p, err)
	waiting := make(chan error, 1)
	go func() {
		_, err := h.Wait(p.patient(), inst.ID, vm.Stopped)
		waiting <- err
	}()
	require.NoError(p, h.Close())
	require.Error(p, <-waiting)
	p.lives(g)
	_, err = h.Live(p.patient(), inst.ID)
	require.Error(p, err)
	require.NotErrorIs(p, err, errors.ErrVMNotRunning)
}

// testManagerUnknown: what was never added is not looked for.
func testManagerUnknown(p *place) {
	h := p.house(nil)
	for _, ref := range []string{uuid.NewString(), "no-such-vm", ""} {
		_, err := h.Start(p.patient(), ref)
		require.ErrorIs(p, err, errors.ErrVMNotFound)
		_, err = h.Live(p.patient(), ref)
		require.ErrorIs(p, err, errors.ErrVMNotFound)
	}
	_, err := h.Live(p.patient(), h.add(vm.Config{}).ID)
	require.ErrorIs(p, err, errors.ErrVMNotRunning)
}
