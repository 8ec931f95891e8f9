package backendtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func testLaunchHalted(p *place) {
	g := p.launch(p.spec(vm.Config{}))
	require.Equal(p, errors.ExitStatus{}, g.Exit(), "before Done")
	require.NoError(p, g.Connect(p.patient()))
	require.False(p, p.running(g), "the CPUs run before Continue")
	require.NoError(p, g.Continue(p.patient()))
	require.True(p, p.running(g), "the CPUs don't run after Continue")
}

// testLaunchRunsNothing: no instruction of the guest is executed before Continue.
func testLaunchRunsNothing(p *place) {
	spec := p.spec(vm.Config{})
	spec.Boot = p.pcBoot()
	g := p.launch(spec)
	require.NoError(p, g.Connect(p.patient()))
	console := p.dial(g, vm.ChannelConsole)
	require.NoError(p, console.SetReadDeadline(time.Now().Add(10*quiet)))
	n, err := console.Read(make([]byte, 1))
	require.Zero(p, n, "the guest printed something")
	require.ErrorIs(p, err, os.ErrDeadlineExceeded)
	require.NoError(p, g.Continue(p.patient()))
	p.readUntil(console, pcBanner)
}

func testEventsFromTheFirst(p *place) {
	g := p.launch(p.spec(vm.Config{}))
	all, some := g.QMP().Subscribe(), g.QMP().Subscribe("RESUME", "SHUTDOWN")
	defer all.Close()
	defer some.Close()
	require.NoError(p, g.Connect(p.patient()))
	require.NoError(p, g.Continue(p.patient()))
	require.Equal(p, "RESUME", p.event(some).Name)
	p.awaitEvent(all, "RESUME")
}

func testRuntime(p *place) {
	g := p.halted(vm.Config{Networks: []vm.Network{{Type: vm.NetworkUser}, {Type: vm.NetworkUser, MAC: "52:54:00:12:34:56"}}})
	rt := g.Runtime()
	require.Equal(p, p.backendName(), rt.Backend)
	require.Contains(p, []string{"kvm", "tcg"}, rt.Accel)
	if !p.lacks(Machines) {
		require.NotEmpty(p, rt.Machine)
		require.NotContains(p, []string{"q35", "pc", "virt"}, rt.Machine, "an alias, not the versioned name")
	}
	if !p.lacks(Channels) {
		require.True(p, filepath.IsAbs(rt.Console), "Console: %q", rt.Console)
	}
	require.Nil(p, rt.Exit)
	require.Len(p, rt.Cards, 2)
	require.Equal(p, "52:54:00:12:34:56", rt.Cards[1].MAC)
	require.Equal(p, rt, throughJSON(p, rt), "it changes on its way through a record")
	require.Equal(p, rt, g.Runtime())

	scribbled := g.Runtime()
	scribbled.Cards[0].MAC = "changed"
	for channel := range scribbled.Sockets {
		scribbled.Sockets[channel] = "changed"
	}
	require.Equal(p, rt, g.Runtime(), "Runtime returns no copy")
}

func testTwoAtOnce(p *place) {
	a, b := p.halted(vm.Config{}), p.halted(vm.Config{})
	require.NoError(p, a.Continue(p.patient()))
	require.True(p, p.running(a))
	require.False(p, p.running(b), "its neighbour was continued")
	require.NoError(p, last(a).Run(p.patient()))
	p.gone(a)
	require.NoError(p, p.b.Clean(p.patient(), a.inst(p)))
	p.lives(b)
}

// testLaunchFails: a guest that can't be is an error of Launch, which leaves nothing, or of
// Connect; and its ID is not used up.
func testLaunchFails(p *place) {
	spec := p.spec(vm.Config{})
	spec.Boot.Kernel = filepath.Join(p.TempDir(), "no-such-kernel")
	before := p.left()
	got, err := p.b.Launch(p.patient(), spec)
	if err == nil {
		g := p.own(got, spec)
		require.ErrorIs(p, g.Connect(p.patient()), errors.ErrQMPConnection)
		p.gone(g)
		require.NoError(p, p.b.Erase(p.patient(), g.inst(p)))
	}
	require.ElementsMatch(p, before, p.left(), "what a failed launch left")

	spec.Boot.Kernel = ""
	again := p.launch(spec)
	require.NoError(p, again.Connect(p.patient()))
	p.lives(again)
}

func testLaunchCancelled(p *place) {
	spec, before := p.spec(vm.Config{}), p.left()
	p.promptly("Launch", func() {
		_, err := p.b.Launch(p.cancelled(), spec)
		require.ErrorIs(p, err, context.Canceled)
	})
	p.settles(before, "what a cancelled launch left")
}

// testLaunchCancelledLater: at whatever moment the context ends, there is a guest or an error,
// and not both.
func testLaunchCancelledLater(p *place) {
	before := p.left()
	for _, after := range []time.Duration{0, time.Millisecond, 4 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 200 * time.Millisecond} {
		spec := p.spec(vm.Config{})
		ctx, cancel := context.WithTimeout(p.Context(), after)
		g, err := p.b.Launch(ctx, spec)
		cancel()
		if err == nil {
			p.lives(p.connected(g, spec))
			p.finish((&launched{g, spec}).inst(p))
			require.NoError(p, g.Release())
		} else {
			require.ErrorIs(p, err, context.DeadlineExceeded)
		}
		p.settles(before, fmt.Sprintf("cancelled after %v: %v", after, err))
	}
}

func (p *place) connected(g vm.Guest, spec vm.LaunchSpec) *launched {
	p.Helper()
	require.NoError(p, g.Connect(p.patient()))
	return &launched{g, spec}
}

// testLaunchTwice: the guest that lives is not harmed by a second one with its ID.
func testLaunchTwice(p *place) {
	g := p.halted(vm.Config{})
	for _, b := range []vm.Backend{p.b, p.open()} {
		_, err := b.Launch(p.patient(), g.spec)
		require.Error(p, err)
		require.NotErrorIs(p, err, errors.ErrHostUnreachable)
	}
	p.lives(g)
	again, err := p.open().Attach(p.patient(), g.inst(p))
	require.NoError(p, err, "it can't be found any more")
	require.NoError(p, again.Release())
}

func testLaunchAtOnce(p *place) {
	spec := p.spec(vm.Config{})
	backends := []vm.Backend{p.b, p.b, p.open(), p.open()}
	guests := make([]vm.Guest, len(backends))
	var won atomic.Int32
	together(len(backends), func(i int) {
		if g, err := backends[i].Launch(p.patient(), spec); err == nil {
			guests[i] = g
			won.Add(1)
		}
	})
	for _, g := range guests {
		if g != nil {
			p.lives(p.connected(p.own(g, spec), spec))
		}
	}
	require.EqualValues(p, 1, won.Load(), "launches of one ID that succeeded")
}

// testRelaunch: an ID can be launched again once its guest is gone and cleaned away.
func testRelaunch(p *place) {
	g := p.halted(vm.Config{})
	for range 2 {
		require.NoError(p, last(g).Run(p.patient()))
		p.gone(g)
		require.NoError(p, g.Release())
		require.NoError(p, p.b.Clean(p.patient(), g.inst(p)))
		g = p.launch(g.spec)
		require.NoError(p, g.Connect(p.patient()))
		require.False(p, p.running(g))
	}
}

func testOddNames(p *place) {
	for _, name := range []string{
		"0", "A.b_c-D", "1e3", "null", "x--y..z", "vm-", "Default", strings.Repeat("n", 63),
	} {
		g := p.halted(vm.Config{Name: name})
		again, err := p.b.Attach(p.patient(), g.inst(p))
		require.NoError(p, err, name)
		require.NoError(p, again.Release())
		require.NoError(p, last(g).Run(p.patient()), name)
		p.gone(g)
		require.NoError(p, p.b.Erase(p.patient(), g.inst(p)))
	}
}

// A Connect that waits for nothing has no use for the context.
func testConnectCancelled(p *place) {
	g := p.launch(p.spec(vm.Config{}))
	p.promptly("Connect", func() {
		if err := g.Connect(p.cancelled()); err != nil {
			require.ErrorIs(p, err, context.Canceled)
		}
	})
	require.NoError(p, g.Connect(p.patient()), "again")
	p.lives(g)
	p.promptly("Continue", func() { require.ErrorIs(p, g.Continue(p.cancelled()), context.Canceled) })
	require.NoError(p, g.Continue(p.patient()))
	require.True(p, p.running(g))
}
