package backendtest

import (
	"context"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func testCheckAccepts(p *place) {
	before := p.left()
	spec := p.spec(vm.Config{})
	for range 2 {
		require.NoError(p, p.b.Check(p.patient(), spec.ID, spec.Config))
	}
	require.ElementsMatch(p, before, p.left(), "Check made something")
}

func testCheckMachine(p *place) {
	before := p.left()
	err := p.b.Check(p.patient(), uuid.NewString(), p.config(vm.Config{Name: "bt-check", Machine: "no-such-machine"}))
	var bad *errors.ConfigError
	require.ErrorAs(p, err, &bad)
	require.Len(p, bad.Problems, 1)
	require.Equal(p, "machine", bad.Problems[0].Field)
	require.Equal(p, "no-such-machine", bad.Problems[0].Value)
	require.NotEmpty(p, bad.Problems[0].Message)
	require.ElementsMatch(p, before, p.left(), "Check made something")
}

// A backend that does not ask anybody has no use for the context.
func testCheckCancelled(p *place) {
	spec := p.spec(vm.Config{})
	p.promptly("Check", func() {
		if err := p.b.Check(p.cancelled(), spec.ID, spec.Config); err != nil {
			require.ErrorIs(p, err, context.Canceled)
		}
	})
}

// defaults are what vm.Timeouts states for KVM.
var defaults = vm.Timeouts{Launch: 15e9, Ready: 60e9, Silence: 20e9, Stop: 10e9}

func testTimeouts(p *place) {
	g := p.halted(vm.Config{})
	factor := vm.Duration(1)
	if g.Runtime().Accel == "tcg" {
		factor = 4
	}
	cfg := g.spec.Config
	cfg.Timeouts = vm.Timeouts{}
	scaled := vm.Timeouts{Launch: factor * defaults.Launch, Ready: factor * defaults.Ready,
		Silence: factor * defaults.Silence, Stop: factor * defaults.Stop}
	require.Equal(p, scaled, p.b.Timeouts(p.patient(), cfg))

	cfg.Timeouts = vm.Timeouts{Launch: 1e9, Ready: 2e9, Silence: 3e9, Stop: 4e9}
	require.Equal(p, cfg.Timeouts, p.b.Timeouts(p.patient(), cfg), "what is set is not scaled")
	cfg.Timeouts = vm.Timeouts{Stop: 1}
	scaled.Stop = 1
	require.Equal(p, scaled, p.b.Timeouts(p.patient(), cfg))
}
