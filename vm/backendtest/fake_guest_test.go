package backendtest_test

import (
	"context"
	"net"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// guest is what a backend has of a machine.
type guest struct {
	*qmp.Relay
	b    *backend
	m    *machine
	life context.Context
	end  context.CancelFunc
}

func (b *backend) guest(m *machine) *guest {
	g := &guest{b: b, m: m, Relay: qmp.NewRelay(m.answer)}
	g.life, g.end = context.WithCancel(context.Background())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.relays = append(m.relays, g.Relay)
	return g
}

func (g *guest) Runtime() vm.Runtime {
	rt := g.m.rt
	if !g.b.host.does("Runtime is no copy") {
		rt.Cards = append([]vm.Card(nil), rt.Cards...)
		rt.Sockets = map[string]string{}
		for k, v := range g.m.rt.Sockets {
			rt.Sockets[k] = v
		}
	}
	if g.b.host.does("Runtime lacks the accelerator") {
		rt.Accel = ""
	}
	return rt
}

func (g *guest) Connect(ctx context.Context) error {
	if err := errors.Join(ctx.Err(), g.Err()); err != nil || g.m.gone() {
		return errors.Wrap(errors.ErrQMPConnection, "connect", "", errors.Join(err, g.Err()))
	}
	if g.b.host.does("Connect is for good") && g.life.Err() != nil {
		return nil
	}
	g.Open()
	return nil
}

func (g *guest) QMP() qmp.Conn { return g.Relay }

func (g *guest) Continue(ctx context.Context) error {
	if g.b.host.does("Continue does nothing") {
		return ctx.Err()
	}
	_, err := g.Execute(ctx, "cont", nil)
	return err
}

func (g *guest) Dial(ctx context.Context, name string, wait bool) (net.Conn, error) {
	turn, ok := g.m.users[name]
	fail := func(err error) (net.Conn, error) {
		return nil, errors.Wrap(errors.ErrAgentUnavailable, "dial", "", err)
	}
	switch {
	case !ok && !g.b.host.does("Dial opens anything"):
		return fail(errors.New("no such channel"))
	case ctx.Err() != nil || g.life.Err() != nil || g.m.gone():
		return fail(errors.Join(ctx.Err(), g.life.Err(), errors.New("gone")))
	case g.b.host.does("channels have many clients"):
		turn = make(chan struct{}, 1)
	}
	done := g.m.done
	if g.b.host.does("Dial outwaits the guest") {
		done = nil
	}
	select {
	case turn <- struct{}{}:
	default:
		if !wait {
			return fail(errors.New("in use"))
		}
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-g.life.Done():
			return fail(net.ErrClosed)
		case <-done:
			return fail(errors.New("gone"))
		}
	}
	ours, theirs := net.Pipe()
	c := &channel{Conn: ours, free: sync.OnceFunc(func() { <-turn })}
	go func() { // a machine that runs nothing says nothing
		select {
		case <-g.life.Done():
		case <-g.m.done:
		}
		_ = theirs.Close()
		_ = c.Close()
	}()
	return c, nil
}

type channel struct {
	net.Conn
	free func()
}

func (c *channel) Close() error {
	c.free()
	return c.Conn.Close()
}

func (g *guest) Ladder() []vm.StopStep {
	hard := func(exit errors.ExitStatus) func(context.Context) error {
		return func(context.Context) error { g.m.end(exit); return nil }
	}
	polite := func(ctx context.Context) error {
		if g.b.host.does("polite steps wait for ever") {
			<-g.m.done
		}
		return errors.New("the guest is halted")
	}
	steps := []vm.StopStep{
		{Name: "acpi", Graceful: true, Run: polite},
		{Name: "quit", Run: hard(errors.ExitStatus{Known: true})},
		{Name: "sigkill", Run: hard(errors.ExitStatus{Known: true, Signal: "SIGKILL"})},
	}
	if g.b.host.does("the ladder ends politely") {
		steps = append(steps, vm.StopStep{Name: "agent", Graceful: true, Run: hard(errors.ExitStatus{Known: true})})
	}
	return steps
}

func (g *guest) Done() <-chan struct{} { return g.m.done }

func (g *guest) Exit() errors.ExitStatus {
	g.m.mu.Lock()
	defer g.m.mu.Unlock()
	if g.b.host.does("Exit is known before the end") {
		return errors.ExitStatus{Known: true}
	}
	return g.m.exit
}

func (g *guest) Release() error {
	g.end()
	if g.b.host.does("Release stops the guest") {
		g.m.end(errors.ExitStatus{Known: true})
	}
	if g.b.host.does("Release lets QMP go on") {
		return nil
	}
	return g.Close()
}
