package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// oneVM is a Finder that knows one VM.
type oneVM struct{ conn Conn }

func (f oneVM) QMP(_ context.Context, ref string) (Conn, error) {
	if ref != "web" {
		return nil, &errors.Error{Kind: errors.ErrVMNotFound, Op: "QMP", VM: ref}
	}
	return f.conn, nil
}

// managed returns a manager of a VM called web whose QEMU answers by reply.
func managed(t *testing.T, reply func(request string) string, opts ...ManagerOption) (*Manager, *fake) {
	c, server := connected(t)
	background(t, func() { server.serve(reply) })
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return NewManager(oneVM{c}, opts...), server
}

func always(reply string) func(string) string { return func(string) string { return reply } }

func TestManagerCalls(t *testing.T) {
	var last string
	m, _ := managed(t, func(request string) string {
		last = request
		return `{"return": {"status": "paused", "running": false, "singlestep": false}}`
	})
	ctx := t.Context()
	for want, fn := range map[string]func(context.Context, string) error{
		"stop": m.Pause, "cont": m.Resume, "system_reset": m.Reset,
	} {
		require.NoError(t, fn(ctx, "web"))
		require.JSONEq(t, `{"execute":"`+want+`"}`, last)
	}
	status, err := m.Status(ctx, "web")
	require.NoError(t, err)
	require.Equal(t, StatusInfo{Status: "paused"}, status)

	out, err := m.Execute(ctx, "web", "query-status", nil)
	require.NoError(t, err)
	require.Contains(t, string(out), "singlestep")
	_, err = Call[int](ctx, m, "web", "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMP)
	var wrong *json.UnmarshalTypeError
	require.ErrorAs(t, err, &wrong)
}

func TestManagerErrorsNameTheVM(t *testing.T) {
	m, server := managed(t, always(`{"error": {"class": "DeviceNotFound", "desc": "no"}}`))
	_, err := m.Execute(t.Context(), "web", "device_del", map[string]string{"id": "x"})
	var e *errors.QMPError
	require.ErrorAs(t, err, &e)
	require.Equal(t, errors.QMPError{VM: "web", Command: "device_del", Class: "DeviceNotFound", Desc: "no"}, *e)

	_, err = m.Execute(t.Context(), "other", "query-status", nil)
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	_, err = m.Events(t.Context(), "other")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	_, err = m.Execute(t.Context(), "web", "not a command", nil)
	require.ErrorIs(t, err, errors.ErrQMP)

	require.NoError(t, server.conn.Close())
	_, err = m.Execute(t.Context(), "web", "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorContains(t, err, `"web"`)
}

func TestManagerEvents(t *testing.T) {
	m, server := managed(t, always(`{"return": {}}`))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	short, err := m.Events(ctx, "web", "STOP")
	require.NoError(t, err)
	long, err := m.Events(t.Context(), "web")
	require.NoError(t, err)
	server.send(resumeEvent, stopEvent)
	require.Equal(t, "STOP", soon(t, short).Name)
	cancel()
	require.Empty(t, closed(t, short))
	server.send(stopEvent)
	require.NoError(t, server.conn.CloseWrite())
	require.Len(t, closed(t, long), 3)

	over, cancel := context.WithCancel(t.Context())
	cancel()
	none, err := m.Events(over, "web")
	require.NoError(t, err)
	require.Empty(t, closed(t, none))
}

// namedVM knows what its VM is called.
type namedVM struct{ oneVM }

func (namedVM) VMName(string) string { return "web server" }

// TestErrorsAndLogCallTheVMByName, also when the caller gives its ID.
func TestErrorsAndLogCallTheVMByName(t *testing.T) {
	var out bytes.Buffer
	c, server := connected(t)
	background(t, func() { server.serve(always(`{"error": {"class": "GenericError", "desc": "no"}}`)) })
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	m := NewManager(namedVM{oneVM{c}}, WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	for _, err := range []error{
		m.Pause(t.Context(), "web"), m.SendKeys(t.Context(), "web", "nokey"), m.Type(t.Context(), "web", "\x01"),
		m.AddDevice(t.Context(), "web", Device{}), m.RemoveDevice(t.Context(), "web", "!"),
	} {
		require.ErrorContains(t, err, "web server")
	}
	require.Contains(t, out.String(), `vm="web server"`)
	require.NotContains(t, out.String(), "vm=web ")
}

func TestPolicyDeniesDangerousCommands(t *testing.T) {
	m, _ := managed(t, always(`{"return": {}}`))
	args := map[string]string{"filename": "/tmp/x"}
	_, err := m.Execute(t.Context(), "web", "pmemsave", args)
	require.ErrorIs(t, err, errors.ErrQMPDenied)
	require.ErrorContains(t, err, "dangerous")
	require.ErrorContains(t, err, "AllowDangerous")
	_, err = m.Execute(AllowDangerous(t.Context()), "web", "pmemsave", args)
	require.NoError(t, err)

	m.policy = Policy{Dangerous: Allow, Normal: Deny, Classes: map[string]Class{"query-status": Normal, "new": ReadOnly}}
	_, err = m.Execute(t.Context(), "web", "pmemsave", args)
	require.NoError(t, err)
	require.ErrorIs(t, m.Pause(t.Context(), "web"), errors.ErrQMPDenied)
	_, err = m.Status(AllowDangerous(t.Context()), "web")
	require.ErrorIs(t, err, errors.ErrQMPDenied, "the override is for dangerous commands only")
	_, err = m.Execute(t.Context(), "web", "new", nil)
	require.NoError(t, err)
}

func TestPolicyDefaults(t *testing.T) {
	var p Policy
	for c, want := range map[Class]Decision{ReadOnly: Allow, Normal: Allow, Privileged: Audit, Dangerous: Deny, Class(9): Deny} {
		require.Equal(t, want, p.Decide(c), c)
	}
	for command, want := range map[string]Class{
		"query-status": ReadOnly, "cont": Normal, "device_add": Privileged, "migrate": Dangerous,
		"quit": Dangerous, "memsave": Dangerous, "never-heard-of": Privileged, "": Privileged,
	} {
		require.Equal(t, want, p.Class(command), command)
	}
}

func TestAuditHasNoValues(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	m, _ := managed(t, always(`{"error": {"class": "GenericError", "desc": "no"}}`), WithLogger(logger))
	secret := map[string]string{"protocol": "vnc", "password": "hunter2"}

	lastLine := func() map[string]any {
		var line map[string]any
		require.NoError(t, json.Unmarshal(log.Bytes(), &line))
		require.NotContains(t, log.String(), "hunter2")
		log.Reset()
		return line
	}
	_, err := m.Execute(t.Context(), "web", "set_password", secret)
	require.Error(t, err)
	line := lastLine()
	require.Equal(t, "INFO", line["level"])
	require.Equal(t, "web", line["vm"])
	require.Equal(t, "set_password", line["command"])
	require.Equal(t, []any{"password", "protocol"}, line["arguments"])
	require.Equal(t, "privileged", line["class"])
	require.Equal(t, "QMPCommand", line["outcome"])
	require.Positive(t, line["duration"])

	_, err = m.Execute(t.Context(), "web", "quit", secret)
	require.Error(t, err)
	line = lastLine()
	require.Equal(t, "WARN", line["level"])
	require.Equal(t, "QMPDenied", line["outcome"])

	_, _ = m.Execute(t.Context(), "web", "query-status", nil)
	require.Zero(t, log.Len(), "what is allowed is logged at level debug only")
}
