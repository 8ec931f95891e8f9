package backendtest

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// quiet is how long something that must not happen is waited for, bootTime how long a system
// may take to boot, emulated on a busy host.
const (
	quiet    = 50 * time.Millisecond
	bootTime = 4 * time.Minute
)

// place is where one case runs.
type place struct {
	*testing.T
	o        Options
	h        Harness
	b        vm.Backend    // open until the case ends
	patience time.Duration // tells a hang from a slow host
}

func newPlace(t *testing.T, o Options) *place {
	t.Helper()
	p := &place{T: t, o: o, h: o.New(t), patience: cmp.Or(o.Patience, 90*time.Second)}
	before := p.left()
	t.Cleanup(func() { require.ElementsMatch(t, before, p.left(), "what is left of the guests") })
	p.b = p.open()
	return p
}

// left lists what there is of guests.
func (p *place) left() []string {
	if p.h.Left == nil {
		return nil
	}
	return p.h.Left(p.T)
}

// lacks reports whether the backend lacks a feature.
func (p *place) lacks(f Feature) bool { return slices.Contains(p.o.Lacks, f) }

// backendName is what VMs' configurations call the backend.
func (p *place) backendName() string { return cmp.Or(p.o.Config.Backend, vm.DefaultBackend) }

// settles waits until there is as much of guests as before: what a call had begun when its
// context ended, or its backend was closed, may be undone a moment later.
func (p *place) settles(before []string, why string) {
	p.Helper()
	want := slices.Sorted(slices.Values(before))
	var left []string
	for end := time.Now().Add(p.patience); ; time.Sleep(quiet) {
		if left = slices.Sorted(slices.Values(p.left())); slices.Equal(want, left) {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	require.Equal(p, want, left, why)
}

// open returns another backend, as another process would have it.
func (p *place) open() vm.Backend {
	p.Helper()
	b := p.h.Open(p.T)
	p.Cleanup(func() { require.NoError(p, b.Close(), "Close") })
	return b
}

// spec returns the specification of a new guest; cfg is laid over the Options' Config.
func (p *place) spec(cfg vm.Config) vm.LaunchSpec {
	id := uuid.NewString()
	cfg = p.config(cfg)
	if cfg.Name == "" {
		cfg.Name = "bt-" + id[:8]
	}
	return vm.LaunchSpec{ID: id, Config: cfg}
}

// config fills in what cfg leaves open by the Options.
func (p *place) config(cfg vm.Config) vm.Config {
	var merged map[string]any
	for _, c := range []vm.Config{p.o.Config, cfg} {
		text, err := json.Marshal(c)
		require.NoError(p, err)
		require.NoError(p, json.Unmarshal(text, &merged))
	}
	text, err := json.Marshal(merged)
	require.NoError(p, err)
	var out vm.Config
	require.NoError(p, json.Unmarshal(text, &out))
	return out
}

// launched is a guest that a case launched.
type launched struct {
	vm.Guest
	spec vm.LaunchSpec
}

// inst returns what another process reads of the guest's record.
func (g *launched) inst(t testing.TB) vm.Instance {
	t.Helper()
	return vm.Instance{ID: g.spec.ID, Name: g.spec.Config.Name, Config: g.spec.Config, State: vm.Running, Runtime: throughJSON(t, g.Runtime())}
}

// throughJSON returns v as a record has it.
func throughJSON[T any](t testing.TB, v T) (out T) {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// launch starts a guest that is ended and erased with the case.
func (p *place) launch(spec vm.LaunchSpec) *launched {
	p.Helper()
	got, err := p.b.Launch(p.patient(), spec)
	require.NoError(p, err)
	return p.own(got, spec)
}

// own has the case end and erase a guest.
func (p *place) own(got vm.Guest, spec vm.LaunchSpec) *launched {
	g := &launched{got, spec}
	inst := g.inst(p)
	p.Cleanup(func() {
		p.finish(inst)
		require.NoError(p, g.Release())
	})
	return g
}

// halted launches a guest and connects to it. Its CPUs never run.
func (p *place) halted(cfg vm.Config) *launched {
	p.Helper()
	g := p.launch(p.spec(cfg))
	require.NoError(p, g.Connect(p.patient()))
	return g
}

// finish ends what runs of an instance, and erases it.
func (p *place) finish(inst vm.Instance) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.Context()), p.patience)
	defer cancel()
	g, err := p.b.Attach(ctx, inst)
	if err == nil {
		_ = last(g).Run(ctx) // an error means that it is gone already
		p.gone(g)
		require.NoError(p, g.Release())
	} else {
		require.ErrorIs(p, err, errors.ErrVMNotRunning)
	}
	require.NoError(p, p.b.Erase(ctx, inst))
}

// last returns the last rung of the ladder.
func last(g vm.Guest) vm.StopStep {
	steps := g.Ladder()
	return steps[len(steps)-1]
}

// gone waits until the guest is.
func (p *place) gone(g vm.Guest) {
	p.Helper()
	select {
	case <-g.Done():
	case <-time.After(p.patience):
		require.Fail(p, "Done was not closed")
	}
}

// lives fails if the guest is gone, or does not answer.
func (p *place) lives(g vm.Guest) {
	p.Helper()
	select {
	case <-g.Done():
		require.Fail(p, "Done is closed")
	default:
	}
	p.running(g)
}

// running says whether the guest's CPUs run.
func (p *place) running(g vm.Guest) bool {
	p.Helper()
	raw, err := g.QMP().Execute(p.patient(), "query-status", nil)
	require.NoError(p, err)
	var status struct{ Running *bool }
	require.NoError(p, json.Unmarshal(raw, &status))
	require.NotNil(p, status.Running, "query-status: %s", raw)
	return *status.Running
}

// patient is a context for what ends soon, so that a hang fails the case.
func (p *place) patient() context.Context {
	ctx, cancel := context.WithTimeout(p.Context(), p.patience)
	p.Cleanup(cancel)
	return ctx
}

// cancelled is a context that has ended.
func (p *place) cancelled() context.Context {
	ctx, cancel := context.WithCancel(p.Context())
	cancel()
	return ctx
}

// promptly fails when fn, whose context has ended, waits for something else.
func (p *place) promptly(what string, fn func()) {
	p.Helper()
	begun := time.Now()
	fn()
	require.Less(p, time.Since(begun), p.patience/2, "%s was not prompt", what)
}

// together runs fn n times at once, and waits.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

// notRunning fails unless err says that the guest is gone.
func (p *place) notRunning(g vm.Guest, err error) {
	p.Helper()
	if g != nil && err == nil {
		_ = g.Release()
	}
	require.ErrorIs(p, err, errors.ErrVMNotRunning)
	require.False(p, errors.Is(err, context.Canceled), "%v", err)
}
