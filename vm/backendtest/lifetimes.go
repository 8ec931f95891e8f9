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

// testCloseWhileLaunching: what Launch returns is ended by Close, or goes on, as its lifetime
// says; of what fails nothing is left.
func testCloseWhileLaunching(p *place) {
	lifetimes := []vm.Lifetime{vm.Ephemeral, vm.Ephemeral, vm.Persistent}
	if p.lacks(Persistence) {
		lifetimes = lifetimes[:2]
	}
	before := p.left()
	for _, after := range []time.Duration{0, quiet / 10, quiet, 4 * quiet} {
		b := p.open()
		specs, guests := make([]vm.LaunchSpec, len(lifetimes)), make([]vm.Guest, len(lifetimes))
		for i, lifetime := range lifetimes {
			specs[i] = p.spec(vm.Config{Lifetime: lifetime})
		}
		all := make(chan struct{})
		go func() {
			defer close(all)
			together(len(specs), func(i int) { guests[i], _ = b.Launch(p.patient(), specs[i]) })
		}()
		time.Sleep(after)
		require.NoError(p, b.Close())
		<-all
		for i, g := range guests {
			if g == nil {
				continue
			}
			if lifetimes[i] == vm.Ephemeral {
				p.gone(g)
			}
			p.finish((&launched{g, specs[i]}).inst(p))
			require.NoError(p, g.Release())
		}
		p.settles(before, "closed after "+after.String())
		for _, spec := range specs {
			inst := vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config, State: vm.Starting}
			got, err := p.b.Attach(p.patient(), inst)
			p.notRunning(got, err)
			require.NoError(p, p.b.Erase(p.patient(), inst))
		}
	}
}
