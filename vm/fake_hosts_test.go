package vm_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
)

// fakeHost is a backend whose guests can be out of reach, and move to another.
type fakeHost struct {
	*fakeBackend
	mu    sync.Mutex
	away  bool
	reach []chan error
}

// hostGuest is a guest on a fakeHost.
type hostGuest struct {
	*fakeGuest
	host    *fakeHost
	changes chan error
	refuses error // why it does not move
}

var errAway = errors.Wrap(errors.ErrHostUnreachable, "", "", errors.New("no route"))

func (h *fakeHost) wrap(g vm.Guest, err error) (vm.Guest, error) {
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	out := &hostGuest{fakeGuest: g.(*fakeGuest), host: h, changes: make(chan error)}
	h.reach = append(h.reach, out.changes)
	return out, nil
}

func (h *fakeHost) gone() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		return errAway
	}
	return nil
}

func (h *fakeHost) Launch(ctx context.Context, spec vm.LaunchSpec) (vm.Guest, error) {
	return h.wrap(h.fakeBackend.Launch(ctx, spec))
}

func (h *fakeHost) Attach(ctx context.Context, inst vm.Instance) (vm.Guest, error) {
	if err := h.gone(); err != nil {
		return nil, err
	}
	return h.wrap(h.fakeBackend.Attach(ctx, inst))
}

func (h *fakeHost) Erase(ctx context.Context, inst vm.Instance) error {
	return errors.Join(h.gone(), h.fakeBackend.Erase(ctx, inst))
}

// vanish has the host answer no more, and return has it answer again, and tell each guest.
func (h *fakeHost) vanish() { h.turn(true, errAway) }
func (h *fakeHost) comeBack() {
	h.turn(false, nil)
}

func (h *fakeHost) turn(away bool, told error) {
	h.mu.Lock()
	h.away = away
	reach := h.reach
	h.mu.Unlock()
	for _, c := range reach {
		c <- told
	}
}

func (g *hostGuest) Reach() <-chan error { return g.changes }

// Ladder is that of a guest that can't be told anything while the host is away.
func (g *hostGuest) Ladder() []vm.StopStep {
	steps := g.fakeGuest.Ladder()
	for i, s := range steps {
		steps[i].Run = func(ctx context.Context) error {
			if err := g.host.gone(); err != nil {
				return err
			}
			return s.Run(ctx)
		}
	}
	return steps
}

// QMP fails while the host is away.
func (g *hostGuest) QMP() qmp.Conn { return awayConn{g.fakeGuest.QMP(), g.host} }

type awayConn struct {
	qmp.Conn
	host *fakeHost
}

func (c awayConn) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	if err := c.host.gone(); err != nil {
		return nil, err
	}
	return c.Conn.Execute(ctx, command, args)
}

func (g *hostGuest) Migrate(ctx context.Context, inst vm.Instance, to vm.Backend) (vm.Guest, error) {
	if g.refuses != nil {
		return nil, g.refuses
	}
	moved, err := to.Launch(ctx, vm.LaunchSpec{ID: inst.ID, Config: inst.Config})
	if err != nil {
		return nil, err
	}
	if err := moved.Connect(ctx); err != nil {
		return nil, err
	}
	g.event("STOP", "{}")
	if err := moved.Continue(ctx); err != nil {
		return nil, err
	}
	g.end(errors.ExitStatus{Known: true})
	return moved, nil
}

// hosts is a manager on fake hosts "a" and "b", and a placer "any".
type hosts struct {
	*vm.Manager
	a, b  *fakeHost
	place func(vm.Instance) (string, error)
	opts  vm.Options
}

func (h *hosts) Place(_ context.Context, inst vm.Instance) (string, error) { return h.place(inst) }

func newHosts(t *testing.T) *hosts {
	h := &hosts{a: &fakeHost{fakeBackend: newFakeBackend(t)}, b: &fakeHost{fakeBackend: newFakeBackend(t)}}
	h.opts = vm.Options{Store: memory.New(), Images: &fakeImages{present: map[string]bool{}}, Booter: &fakeBooter{}, Dir: t.TempDir(),
		Backends: map[string]vm.Backend{"process": h.a, "a": h.a, "b": h.b}, Placers: map[string]vm.Placer{"any": h}}
	h.Manager = h.another(t)
	return h
}

// another returns a manager as of another process.
func (h *hosts) another(t *testing.T) *vm.Manager {
	m, err := vm.NewManager(h.opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, host := range []*fakeHost{h.a, h.b} {
			for _, g := range host.all() {
				g.end(errors.ExitStatus{Known: true})
			}
		}
		require.NoError(t, m.Close())
	})
	return m
}

func (b *fakeBackend) all() (list []*fakeGuest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.guests {
		list = append(list, g)
	}
	return list
}
