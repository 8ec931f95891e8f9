package backendtest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// event returns the next event of a subscription.
func (p *place) event(sub *qmp.Subscription) qmp.Event {
	p.Helper()
	select {
	case ev, ok := <-sub.C():
		require.True(p, ok, "the subscription ended")
		return ev
	case <-time.After(p.patience):
		require.Fail(p, "no event came")
		return qmp.Event{}
	}
}

// awaitEvent returns the next event of this name.
func (p *place) awaitEvent(sub *qmp.Subscription, name string) qmp.Event {
	p.Helper()
	for {
		if ev := p.event(sub); ev.Name == name {
			return ev
		}
	}
}

// execute runs a command that must succeed.
func (p *place) execute(g vm.Guest, command string, args any) json.RawMessage {
	p.Helper()
	raw, err := g.QMP().Execute(p.patient(), command, args)
	require.NoError(p, err)
	return raw
}

func testQMPBeforeConnect(p *place) {
	g := p.launch(p.spec(vm.Config{}))
	require.NotNil(p, g.QMP())
	p.promptly("Execute", func() {
		_, err := g.QMP().Execute(p.patient(), "query-status", nil)
		require.ErrorIs(p, err, errors.ErrQMPConnection)
	})
	require.NoError(p, g.Connect(p.patient()))
	p.lives(g)
	require.NoError(p, g.QMP().Err())
}

func testQMPAfterTheEnd(p *place) {
	g := p.halted(vm.Config{})
	require.NoError(p, last(g).Run(p.patient()))
	p.gone(g)
	select {
	case <-g.QMP().Done():
	case <-time.After(p.patience):
		require.Fail(p, "the control channel outlives the guest")
	}
	require.ErrorIs(p, g.QMP().Err(), errors.ErrQMPConnection)
	p.promptly("Execute", func() {
		_, err := g.QMP().Execute(p.patient(), "query-status", nil)
		require.ErrorIs(p, err, errors.ErrQMPConnection)
	})
	p.promptly("Continue", func() { require.Error(p, g.Continue(p.patient())) })
	p.promptly("Connect", func() { require.Error(p, g.Connect(p.patient())) })
}

func testQMPErrors(p *place) {
	g := p.halted(vm.Config{})
	for _, c := range []struct {
		command, class string
		args           any
	}{
		{"no-such-command", "CommandNotFound", nil},
		{"device_del", "DeviceNotFound", map[string]string{"id": "no-such-device"}},
		{"device_del", "GenericError", map[string]int{"no-such-argument": 1}},
	} {
		_, err := g.QMP().Execute(p.patient(), c.command, c.args)
		var refused *errors.QMPError
		require.ErrorAs(p, err, &refused, c.command)
		require.ErrorIs(p, err, errors.ErrQMP)
		require.NotErrorIs(p, err, errors.ErrQMPConnection)
		require.Equal(p, c.class, refused.Class)
		require.NotEmpty(p, refused.Desc)
	}
	p.lives(g)
}

// testQMPTogether: every answer goes to who asked.
func testQMPTogether(p *place) {
	g := p.halted(vm.Config{})
	other := p.attach(p.open(), g)
	together(8, func(i int) {
		conn := g.QMP()
		if i%4 == 3 {
			conn = other.QMP()
		}
		for n := range 10 {
			path := fmt.Sprintf("/no-such-object-%d-%d", i, n)
			_, err := conn.Execute(p.patient(), "qom-list", map[string]string{"path": path})
			var refused *errors.QMPError
			if !errors.As(err, &refused) {
				p.Errorf("qom-list %s: %v", path, err)
				return
			}
			if want := fmt.Sprintf("Device '%s' not found", path); refused.Desc != want {
				p.Errorf("answer to another: want %q, got %q", want, refused.Desc)
			}
		}
	})
}

func testQMPCancelled(p *place) {
	g := p.halted(vm.Config{})
	p.promptly("Execute", func() {
		_, err := g.QMP().Execute(p.cancelled(), "query-status", nil)
		require.ErrorIs(p, err, context.Canceled)
		require.ErrorIs(p, err, errors.ErrQMPTimeout)
	})
	together(8, func(i int) {
		for n := range 10 {
			ctx, cancel := context.WithTimeout(p.Context(), time.Duration(n*i)*100*time.Microsecond)
			if _, err := g.QMP().Execute(ctx, "query-status", nil); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				p.Errorf("query-status: %v", err)
			}
			cancel()
		}
	})
	require.NoError(p, g.QMP().Err())
	p.lives(g)
}

// testQMPLarge: an answer of some hundred kilobytes comes whole.
func testQMPLarge(p *place) {
	g := p.halted(vm.Config{})
	var schema []struct{ Name string }
	require.NoError(p, json.Unmarshal(p.execute(g, "query-qmp-schema", nil), &schema))
	require.Greater(p, len(schema), 500)
}

func testQMPEvents(p *place) {
	g := p.halted(vm.Config{})
	all, stops := g.QMP().Subscribe(), g.QMP().Subscribe("STOP")
	defer all.Close()
	defer stops.Close()
	const rounds = 5
	for range rounds {
		p.execute(g, "cont", nil)
		p.execute(g, "stop", nil)
	}
	for range rounds {
		p.awaitEvent(all, "RESUME")
		ev := p.awaitEvent(all, "STOP")
		require.WithinDuration(p, time.Now(), ev.Time, p.patience)
		require.Equal(p, "STOP", p.event(stops).Name)
	}
	select {
	case ev := <-stops.C():
		require.Fail(p, "a further event", "%+v", ev)
	case <-time.After(quiet):
	}
}

// testQMPEventsShared: what one process does, the other sees.
func testQMPEventsShared(p *place) {
	g := p.halted(vm.Config{})
	other := p.attach(p.open(), g)
	sub := other.QMP().Subscribe("RESUME")
	defer sub.Close()
	p.execute(g, "cont", nil)
	p.event(sub)
}
