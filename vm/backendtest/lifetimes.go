package backendtest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// onBackend launches a guest on a backend that the case closes.
func (p *place) onBackend(b vm.Backend, lifetime vm.Lifetime) *launched {
	p.Helper()
	spec := p.spec(vm.Config{Lifetime: lifetime})
	got, err := b.Launch(p.patient(), spec)
	require.NoError(p, err)
	g := p.own(got, spec)
	require.NoError(p, g.Connect(p.patient()))
	return g
}

func testCloseEndsEphemeral(p *place) {
	before := p.left()
	b := p.open()
	g := p.onBackend(b, "")
	released := p.onBackend(b, vm.Ephemeral)
	require.NoError(p, released.Release())
	elsewhere := p.attach(p.b, released)
	require.NoError(p, b.Close())
	p.gone(g)
	p.gone(elsewhere)
	for _, g := range []*launched{g, released} {
		got, err := p.b.Attach(p.patient(), g.inst(p))
		p.notRunning(got, err)
		require.NoError(p, p.b.Erase(p.patient(), g.inst(p)))
	}
	require.ElementsMatch(p, before, p.left())
}

func testCloseKeepsPersistent(p *place) {
	b := p.open()
	g := p.onBackend(b, vm.Persistent)
	require.NoError(p, g.Continue(p.patient()))
	require.NoError(p, g.Release())
	require.NoError(p, b.Close())
	again := p.attach(p.open(), g)
	require.True(p, p.running(again))
	require.NoError(p, last(again).Run(p.patient()))
	p.gone(again)
}

// testCloseKeepsOthers: a backend ends only what it launched.
func testCloseKeepsOthers(p *place) {
	b := p.open()
	g := p.halted(vm.Config{})
	again, err := b.Attach(p.patient(), g.inst(p))
	require.NoError(p, err)
	require.NoError(p, again.Release())
	require.NoError(p, b.Close())
	require.NoError(p, b.Close(), "again")
	p.lives(g)
}

func testClosed(p *place) {
	b, spec := p.open(), p.spec(vm.Config{})
	require.NoError(p, b.Close())
	before := p.left()
	p.promptly("Launch", func() {
		_, err := b.Launch(p.patient(), spec)
		require.Error(p, err)
	})
	require.ElementsMatch(p, before, p.left())
}

// testCloseWhileLaunching: whatever Launch returns, nothing of it is there after Close.
func testCloseWhileLaunching(p *place) {
	before := p.left()
	for _, after := range []time.Duration{0, quiet / 10, quiet, 4 * quiet} {
		b := p.open()
		specs := []vm.LaunchSpec{p.spec(vm.Config{}), p.spec(vm.Config{}), p.spec(vm.Config{})}
		launched := make(chan struct{})
		go func() {
			defer close(launched)
			together(len(specs), func(i int) {
				g, err := b.Launch(p.patient(), specs[i])
				if err != nil {
					return
				}
				select {
				case <-g.Done():
				case <-time.After(patience):
					p.Errorf("the guest outlived the backend")
				}
				if err := g.Release(); err != nil {
					p.Errorf("Release: %v", err)
				}
			})
		}()
		time.Sleep(after)
		require.NoError(p, b.Close())
		<-launched
		for _, spec := range specs {
			inst := vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config, State: vm.Starting}
			got, err := p.b.Attach(p.patient(), inst)
			p.notRunning(got, err)
			require.NoError(p, p.b.Erase(p.patient(), inst))
		}
		require.ElementsMatch(p, before, p.left(), "closed after %v", after)
	}
}
