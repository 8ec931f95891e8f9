package backendtest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func testLadder(p *place) {
	g := p.halted(vm.Config{})
	steps := g.Ladder()
	require.NotEmpty(p, steps)
	seen := map[string]bool{}
	hard := false
	for _, s := range steps {
		require.Contains(p, []string{"agent", "acpi", "quit", "sigterm", "sigkill", "destroy"}, s.Name)
		require.False(p, seen[s.Name], "%s is there twice", s.Name)
		require.False(p, hard && s.Graceful, "%s comes after a hard step", s.Name)
		seen[s.Name], hard = true, hard || !s.Graceful
	}
	require.True(p, hard, "the last step asks the guest")
}

// testHardRungs ends halted guests, which can't be asked, each by one rung.
func testHardRungs(p *place) {
	names := []string{}
	for _, s := range p.halted(vm.Config{}).Ladder() {
		if !s.Graceful {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		g := p.halted(vm.Config{})
		require.NoError(p, rung(g, name).Run(p.patient()), name)
		p.gone(g)
		p.promptly(name, func() { _ = rung(g, name).Run(p.patient()) }) // it is gone: asked again, nothing waits
		p.gone(g)
		require.NoError(p, g.Release())
		require.NoError(p, g.Release(), "again")
	}
}

func rung(g vm.Guest, name string) vm.StopStep {
	for _, s := range g.Ladder() {
		if s.Name == name {
			return s
		}
	}
	return vm.StopStep{Name: name, Run: func(context.Context) error { return errors.New("no such step") }}
}

// testPoliteRungsEnd: nobody hears what is asked of a halted guest. The step ends all the
// same, and the guest is there for the next one.
func testPoliteRungsEnd(p *place) {
	g := p.halted(vm.Config{})
	for _, s := range g.Ladder() {
		if !s.Graceful {
			continue
		}
		ctx, cancel := context.WithTimeout(p.Context(), 2*quiet)
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_ = s.Run(ctx)
		}()
		select {
		case <-asked:
		case <-time.After(p.patience):
			require.Fail(p, "the step goes on", s.Name)
		}
		cancel()
	}
	p.lives(g)
}

func testKilledBehindUs(p *place) {
	g := p.halted(vm.Config{})
	other := p.attach(p.open(), g)
	p.h.Kill(p, g.inst(p))
	p.gone(g)
	p.gone(other)
	_, err := g.QMP().Execute(p.patient(), "query-status", nil)
	require.ErrorIs(p, err, errors.ErrQMPConnection)
	require.NoError(p, p.b.Clean(p.patient(), g.inst(p)))
}

// testKilledBeforeConnect: a guest that ends at once is an error of Connect.
func testKilledBeforeConnect(p *place) {
	g := p.launch(p.spec(vm.Config{}))
	p.h.Kill(p, g.inst(p))
	p.gone(g)
	require.ErrorIs(p, g.Connect(p.patient()), errors.ErrQMPConnection)
	require.NoError(p, g.Release())
}

// clean reports whether a guest ended in order.
func clean(e errors.ExitStatus) bool { return e.Known && e.Code == 0 && e.Signal == "" }

// testExit: a guest that was killed can be told from one that powered itself off.
func testExit(p *place) {
	killed := p.halted(vm.Config{})
	p.h.Kill(p, killed.inst(p))
	p.gone(killed)
	require.False(p, clean(killed.Exit()), "it was killed: %+v", killed.Exit())

	off, console := p.pc(vm.Config{})
	p.say(console, pcPowerOff)
	p.gone(off)
	require.True(p, clean(off.Exit()), "it powered itself off: %+v", off.Exit())
	require.NoError(p, off.Release())
	require.True(p, clean(off.Exit()), "after Release")
}

// testReleaseSpares: Release stops nothing, and nothing is left of it in this process.
func testReleaseSpares(p *place) {
	g := p.halted(vm.Config{})
	for range 2 {
		require.NoError(p, g.Release())
	}
	p.promptly("QMP after Release", func() {
		_, err := g.QMP().Execute(p.patient(), "query-status", nil)
		require.ErrorIs(p, err, errors.ErrQMPConnection)
	})
	p.promptly("Connect after Release", func() { require.Error(p, g.Connect(p.patient())) })
	p.lives(p.attach(p.b, g))
}

// testReleaseInTime: Release ends what waits.
func testReleaseInTime(p *place) {
	g := p.halted(vm.Config{})
	sub := g.QMP().Subscribe()
	defer sub.Close()
	time.AfterFunc(quiet, func() { _ = g.Release() })
	for {
		select {
		case _, ok := <-sub.C():
			if ok {
				continue
			}
		case <-time.After(p.patience):
			require.Fail(p, "the subscription goes on")
		}
		break
	}
	select {
	case <-g.QMP().Done():
	case <-time.After(p.patience):
		require.Fail(p, "the control channel goes on")
	}
	require.Error(p, g.QMP().Err())
}

// testPowerOff: the guest ends itself, and says so.
func testPowerOff(p *place) {
	g, console := p.pc(vm.Config{})
	sub := g.QMP().Subscribe("SHUTDOWN")
	defer sub.Close()
	p.say(console, pcPowerOff)
	p.gone(g)
	var data struct {
		Guest  bool
		Reason string
	}
	require.NoError(p, p.event(sub).Decode(&data))
	require.True(p, data.Guest)
	require.Equal(p, vm.ReasonGuestShutdown, data.Reason)
	got, err := p.b.Attach(p.patient(), g.inst(p))
	p.notRunning(got, err)
}

// testPowerButton: a guest that hears its power button goes.
func testPowerButton(p *place) {
	g, _ := p.pc(vm.Config{})
	require.NoError(p, rung(g, "acpi").Run(p.patient()))
	p.gone(g)
}

// testReset: a guest that resets itself boots again.
func testReset(p *place) {
	g, console := p.pc(vm.Config{})
	p.say(console, pcReset)
	p.readUntil(console, pcBanner)
	p.lives(g)
}

func testPanicEvent(p *place) {
	g, console := p.pc(vm.Config{PVPanic: true})
	sub := g.QMP().Subscribe("GUEST_PANICKED")
	defer sub.Close()
	p.say(console, pcCrash)
	require.Equal(p, "GUEST_PANICKED", p.event(sub).Name)
}
