package backendtest

import (
	"context"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// attach finds a guest by its record, from the backend b.
func (p *place) attach(b vm.Backend, g *launched) *launched {
	p.Helper()
	again, err := b.Attach(p.patient(), g.inst(p))
	require.NoError(p, err)
	p.Cleanup(func() { require.NoError(p, again.Release()) })
	return &launched{again, g.spec}
}

// testAttachShared: two processes work with a guest at once, and both see it going.
func testAttachShared(p *place) {
	g := p.halted(vm.Config{})
	again := p.attach(p.open(), g)
	require.Equal(p, g.Runtime(), again.Runtime())
	require.False(p, p.running(again), "it was continued by Attach")
	require.NoError(p, again.Continue(p.patient()))
	require.True(p, p.running(g))
	require.True(p, p.running(p.attach(p.open(), g)), "it was halted by Attach")
	require.NoError(p, last(again).Run(p.patient()))
	p.gone(again)
	p.gone(g)
}

func testAttachAfterRelease(p *place) {
	g := p.halted(vm.Config{})
	inst := g.inst(p)
	require.NoError(p, g.Release())
	for _, b := range []vm.Backend{p.b, p.open()} {
		again, err := b.Attach(p.patient(), inst)
		require.NoError(p, err)
		p.lives(again)
		require.NoError(p, again.Release())
	}
}

func testAttachGone(p *place) {
	g := p.halted(vm.Config{})
	inst := g.inst(p)
	require.NoError(p, last(g).Run(p.patient()))
	p.gone(g)
	for _, b := range []vm.Backend{p.b, p.open()} {
		got, err := b.Attach(p.patient(), inst)
		p.notRunning(got, err)
	}
	require.NoError(p, p.b.Clean(p.patient(), inst))
	got, err := p.b.Attach(p.patient(), inst)
	p.notRunning(got, err)
}

func testAttachNeverStarted(p *place) {
	spec := p.spec(vm.Config{})
	got, err := p.b.Attach(p.patient(), vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config, State: vm.Starting})
	p.notRunning(got, err)
}

// testAttachUnrecorded: the process that launched the guest ended before it could record it.
func testAttachUnrecorded(p *place) {
	g := p.halted(vm.Config{})
	inst := g.inst(p)
	inst.State, inst.Runtime = vm.Starting, vm.Runtime{}
	again, err := p.open().Attach(p.patient(), inst)
	require.NoError(p, err)
	defer func() { require.NoError(p, again.Release()) }()
	p.lives(again)
	rt := again.Runtime()
	require.Equal(p, g.Runtime().Process, rt.Process)
	require.Equal(p, g.Runtime().Console, rt.Console)
}

// testAttachStranger: what runs for another VM is not the guest, whatever the record says.
func testAttachStranger(p *place) {
	g := p.halted(vm.Config{})
	inst := g.inst(p)
	inst.ID = uuid.NewString()
	got, err := p.b.Attach(p.patient(), inst)
	p.notRunning(got, err)
	p.lives(g)
}

func testAttachCancelled(p *place) {
	g := p.halted(vm.Config{})
	p.promptly("Attach", func() {
		_, err := p.open().Attach(p.cancelled(), g.inst(p))
		require.ErrorIs(p, err, context.Canceled)
		require.NotErrorIs(p, err, errors.ErrVMNotRunning, "the guest is not known to be gone")
	})
	p.lives(p.attach(p.b, g))
}
