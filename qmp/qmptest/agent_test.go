package qmptest_test

import (
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qmptest"
)

func startAgent(t *testing.T) *qmptest.Server {
	t.Helper()
	s := qmptest.NewAgent()
	t.Cleanup(func() {
		s.Close()
		require.NoError(t, s.Err())
	})
	return s
}

func dialAgent(t *testing.T, s *qmptest.Server) *qmp.Agent {
	t.Helper()
	conn, err := net.Dial(s.Network, s.Addr)
	require.NoError(t, err)
	a := qmp.NewAgent(conn)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

func TestAgent(t *testing.T) {
	s := startAgent(t)
	s.OnConnect(qmptest.Garbage(`turn": {"bytes": 5}}`)) // of an earlier client's command
	s.Handle("guest-exec", func(r qmptest.Request) (any, error) {
		var args struct{ Path string }
		return map[string]any{"pid": 7, "path": &args.Path}, r.Decode(&args)
	})
	a := dialAgent(t, s)
	out, err := a.Execute(within(t, 10*time.Second), "guest-ping", nil)
	require.NoError(t, err)
	require.Equal(t, "{}", string(out))
	out, err = a.Execute(within(t, 10*time.Second), "guest-exec", map[string]string{"path": "/bin/true"})
	require.NoError(t, err)
	require.JSONEq(t, `{"pid": 7, "path": "/bin/true"}`, string(out))
	var refused *errors.QMPError
	_, err = a.Execute(within(t, 10*time.Second), "guest-nonsense", nil)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "CommandNotFound", refused.Class)
	_, err = a.Execute(within(t, 10*time.Second), "guest-sync", nil)
	require.ErrorContains(t, err, "'id' is missing")

	out, err = a.Execute(within(t, 10*time.Second), "guest-info", nil)
	require.NoError(t, err)
	var info struct {
		Version  string
		Commands []struct {
			Name            string
			SuccessResponse bool `json:"success-response"`
		} `json:"supported_commands"`
	}
	require.NoError(t, json.Unmarshal(out, &info))
	require.Equal(t, "7.2.22", info.Version)
	require.Len(t, info.Commands, 6)
	require.Equal(t, "guest-exec", info.Commands[0].Name)

	require.NoError(t, a.ExecuteNoReply(within(t, 10*time.Second), "guest-shutdown", nil))
	_, err = s.Await(within(t, 10*time.Second), "guest-shutdown", 1)
	require.NoError(t, err)
	s.Emit("STOP", nil) // to nobody
	_, err = a.Execute(within(t, 10*time.Second), "guest-ping", nil)
	require.NoError(t, err)
}

func TestAgentThatDoesNotRun(t *testing.T) {
	s := startAgent(t)
	s.OnConnect(qmptest.Silent())
	_, err := dialAgent(t, s).Execute(within(t, 30*time.Millisecond), "guest-ping", nil)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
}

// After each of these the next command is answered, over a sync.
func TestAgentFaults(t *testing.T) {
	for name, f := range map[string]qmptest.Fault{
		"garbage":     qmptest.Garbage("login: "),
		"late":        qmptest.Late(60 * time.Millisecond),
		"extra reply": qmptest.All(qmptest.ExtraReply(), qmptest.Late(60*time.Millisecond)),
	} {
		t.Run(name, func(t *testing.T) {
			s := startAgent(t)
			a := dialAgent(t, s)
			require.NoError(t, a.Sync(within(t, 10*time.Second)))
			s.OnCommand("guest-ping", f)
			_, err := a.Execute(within(t, 30*time.Millisecond), "guest-ping", nil)
			if name != "extra reply" {
				require.Error(t, err)
			}
			s.OnCommand("guest-ping", qmptest.Fault{})
			require.NoError(t, a.Sync(within(t, 10*time.Second)))
			_, err = a.Execute(within(t, 10*time.Second), "guest-info", nil)
			require.NoError(t, err)
		})
	}
	s := startAgent(t)
	s.OnCommand("guest-ping", qmptest.HangUp())
	_, err := dialAgent(t, s).Execute(within(t, 10*time.Second), "guest-ping", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorIs(t, err, io.EOF)
}
