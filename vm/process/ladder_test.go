package process

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	guests "github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

func fmtInt(n int) string { return strconv.Itoa(n) }

func rung(g vm.Guest, name string) vm.StopStep {
	steps := g.Ladder()
	return steps[slices.IndexFunc(steps, func(s vm.StopStep) bool { return s.Name == name })]
}

func TestLadderOrder(t *testing.T) {
	var names []string
	for _, s := range new(guest).Ladder() {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{"agent", "acpi", "quit", "sigterm", "sigkill"}, names)
}

// TestHardRungs ends halted machines, each by one rung.
func TestHardRungs(t *testing.T) {
	h := newHouse(t)
	for name, want := range map[string]errors.ExitStatus{
		"quit":    {Known: true},
		"sigterm": {Known: true},
		"sigkill": {Known: true, Signal: "SIGKILL"},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := (&house{t: t, b: h.b, dir: h.dir}).running(vm.Config{})
			step := rung(g, name)
			require.False(t, step.Graceful)
			require.NoError(t, step.Run(t.Context()))
			gone(t, g.Done())
			require.Equal(t, want, g.Exit())
			require.Error(t, step.Run(t.Context()), "it is gone")
		})
	}
}

// TestGracefulRungsNeedAGuest: a halted machine has nobody to ask, and says so at once.
func TestGracefulRungsNeedAGuest(t *testing.T) {
	h := newHouse(t)
	g, _ := h.running(vm.Config{})
	for _, name := range []string{"agent", "acpi"} {
		step := rung(g, name)
		require.True(t, step.Graceful)
		promptly(t, func() { require.ErrorContains(t, step.Run(t.Context()), "halted") })
	}
	require.NoError(t, g.Continue(t.Context())) // SeaBIOS, and no agent
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	require.ErrorIs(t, rung(g, "agent").Run(soon()), errors.ErrAgentUnavailable)
	require.NoError(t, rung(g, "acpi").Run(soon()), "asked, but not heard")
	require.False(t, g.proc.gone())
}

// TestGracefulRungs ends booted guests, each by one rung.
func TestGracefulRungs(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"agent", "acpi"} {
		t.Run(name, func(t *testing.T) {
			spec := specOf(vm.Config{})
			boot, err := guests.NewBooter(guests.BooterOptions{}).ResolveBoot(t.Context(), spec.Config)
			if errors.Is(err, errors.ErrKernelNotFound) {
				testhost.Lacks(t, err)
			}
			require.NoError(t, err)
			spec.Boot = boot
			g := (&house{t: t, b: h.b, dir: h.dir}).launch(spec)
			require.NoError(t, g.Connect(t.Context()))
			require.NoError(t, g.Continue(t.Context()))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			conn, err := g.Dial(ctx, vm.ChannelAgent, false)
			require.NoError(t, err)
			agent := qmp.NewAgent(conn)
			require.NoError(t, agent.Sync(ctx))
			require.NoError(t, agent.Close())

			require.NoError(t, rung(g, name).Run(ctx))
			gone(t, g.Done())
			require.Equal(t, errors.ExitStatus{Known: true}, g.Exit())
		})
	}
}
