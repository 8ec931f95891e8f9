package qmp

import (
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/qmptest"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestAsMonitor(t *testing.T) {
	c, server := connected(t)
	background(t, func() {
		server.serve(func(request string) string {
			if request == `{"execute":"fails"}`+"\n" {
				return `{"error": {"class": "DeviceNotFound", "desc": "no"}}`
			}
			return stopEvent + "\r\n" + `{"return": {"request": ` + request[:len(request)-1] + `}}`
		})
	})
	m := AsMonitor(c)
	require.NoError(t, m.Connect())
	ctx, cancel := context.WithCancel(t.Context())
	events, err := m.Events(ctx)
	require.NoError(t, err)
	unread, err := m.Events(t.Context())
	require.NoError(t, err)

	command, err := json.Marshal(goqemu.Command{Execute: "x", Args: map[string]int{"a": 1}})
	require.NoError(t, err)
	out, err := m.Run(command)
	require.NoError(t, err)
	require.JSONEq(t, `{"return": {"request": {"execute":"x","arguments":{"a":1}}}}`, string(out))
	out, err = m.Run([]byte(`{"execute":"x","id":5}`))
	require.NoError(t, err)
	require.JSONEq(t, `{"return": {"request": {"execute":"x"}}, "id": 5}`, string(out))
	var e *errors.QMPError
	_, err = m.Run([]byte(`{"execute":"fails"}`))
	require.ErrorAs(t, err, &e)
	require.Equal(t, "DeviceNotFound", e.Class)
	_, err = m.Run([]byte(`nonsense`))
	require.ErrorIs(t, err, errors.ErrQMP)

	got := soon(t, events)
	require.Equal(t, "STOP", got.Event)
	require.EqualValues(t, 1700000000, got.Timestamp.Seconds)
	require.EqualValues(t, 500000, got.Timestamp.Microseconds)
	cancel()
	closed(t, events)

	require.NoError(t, m.Disconnect())
	closed(t, unread)
	require.NoError(t, m.Disconnect())
	require.ErrorIs(t, m.Connect(), errors.ErrQMPConnection)
	_, err = m.Events(t.Context())
	require.ErrorIs(t, err, errors.ErrQMPConnection)
}

func TestFromMonitorOfQmptest(t *testing.T) {
	c, err := FromMonitor(qmptest.NewMonitor(func(cmd goqemu.Command) (any, error) {
		switch cmd.Execute {
		case "query-status":
			return map[string]any{"return": map[string]any{"running": true}}, nil
		case "typed":
			return map[string]any{"error": map[string]any{"class": "DeviceNotFound", "desc": "no"}}, nil
		case "lost":
			return nil, io.ErrUnexpectedEOF
		}
		return nil, errors.New("no such thing")
	}))
	require.NoError(t, err)
	defer c.Close()
	out, err := c.Execute(t.Context(), "query-status", nil)
	require.NoError(t, err)
	require.JSONEq(t, `{"running": true}`, string(out))
	var e *errors.QMPError
	_, err = c.Execute(t.Context(), "typed", nil)
	require.ErrorAs(t, err, &e)
	require.Equal(t, errors.QMPError{Command: "typed", Class: "DeviceNotFound", Desc: "no"}, *e)
	_, err = c.Execute(t.Context(), "other", nil)
	require.ErrorAs(t, err, &e)
	require.Equal(t, errors.QMPError{Command: "other", Class: "GenericError", Desc: "no such thing"}, *e)
	_, err = c.Execute(t.Context(), "bad\n", nil)
	require.ErrorIs(t, err, errors.ErrQMP)
	require.NoError(t, c.Err())

	sub := c.Subscribe()
	_, err = c.Execute(t.Context(), "lost", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	closed(t, c.Done())
	closed(t, sub.C())
	_, err = c.Execute(t.Context(), "query-status", nil)
	require.ErrorIs(t, err, c.Err())
}

// stuck is a monitor whose commands take until it is disconnected.
type stuck struct {
	events chan goqemu.Event
	quit   chan struct{}
}

func (stuck) Connect() error                                        { return nil }
func (s stuck) Disconnect() error                                   { close(s.quit); close(s.events); return nil }
func (s stuck) Run([]byte) ([]byte, error)                          { <-s.quit; return nil, io.EOF }
func (s stuck) Events(context.Context) (<-chan goqemu.Event, error) { return s.events, nil }

func TestFromMonitorThatIsStuck(t *testing.T) {
	m := stuck{make(chan goqemu.Event), make(chan struct{})}
	c, err := FromMonitor(m)
	require.NoError(t, err)
	sub := c.Subscribe("STOP")
	for range 2 { // in flight, then waiting for its turn
		start := time.Now()
		_, err = c.Execute(within(t, 20*time.Millisecond), "x", nil)
		require.Less(t, time.Since(start), 2*time.Second)
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	m.events <- goqemu.Event{Event: "STOP", Data: map[string]any{"a": 1}}
	e := soon(t, sub.C())
	require.Equal(t, "STOP", e.Name)
	require.JSONEq(t, `{"a": 1}`, string(e.Data))
	waiting := execute(t.Context(), c, "x", nil)
	require.NoError(t, c.Close())
	require.ErrorIs(t, soon(t, waiting).err, errors.ErrQMPConnection)
	closed(t, sub.C())
}

// A client seen as a go-qemu monitor seen as a connection again.
func TestMonitorThereAndBack(t *testing.T) {
	inner, server := connected(t)
	background(t, func() { server.serve(always(`{"return": 5}` + "\r\n" + stopEvent)) })
	c, err := FromMonitor(AsMonitor(inner))
	require.NoError(t, err)
	sub := c.Subscribe()
	out, err := c.Execute(t.Context(), "x", map[string]int{"a": 1})
	require.NoError(t, err)
	require.Equal(t, "5", string(out))
	require.Equal(t, "STOP", soon(t, sub.C()).Name)
	require.NoError(t, server.conn.CloseWrite())
	closed(t, c.Done())
	require.NoError(t, c.Close())
}
