package qmptest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qmptest"
)

// Faults after which the client has no connection any more.
func TestFaultsThatEndTheConnection(t *testing.T) {
	for name, f := range map[string]qmptest.Fault{
		"garbage":       qmptest.Garbage("login: "),
		"greeting":      qmptest.Greeting(),
		"wrong id":      qmptest.WrongID("x"),
		"extra reply":   qmptest.ExtraReply(),
		"hang up":       qmptest.HangUp(),
		"reset":         qmptest.Reset(),
		"close at once": qmptest.CloseAt(0),
		"close at 5":    qmptest.CloseAt(5),
		"huge":          qmptest.Huge(2000),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := dial(t, s, qmp.FrameLimit(1999))
			s.OnCommand("query-name", f)
			_, err := c.Execute(within(t, 10*time.Second), "query-name", nil)
			if name == "extra reply" { // the first one was right
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, errors.ErrQMPConnection)
			}
			soon(t, c.Done())

			c = dial(t, s, qmp.FrameLimit(1999)) // the server bears it
			s.Inject(f)
			s.Emit("STOP", nil) // for those that count bytes
			soon(t, c.Done())
			require.ErrorIs(t, c.Err(), errors.ErrQMPConnection)
		})
	}
}

func TestFaultsAtTheStart(t *testing.T) {
	for name, tc := range map[string]struct {
		fault qmptest.Fault
		want  error // nil: connects
	}{
		"none":          {qmptest.Fault{}, nil},
		"no greeting":   {qmptest.Silent(), errors.ErrQMPTimeout},
		"half greeting": {qmptest.HalfFrame(), errors.ErrQMPTimeout},
		"stalls":        {qmptest.StallAt(115), errors.ErrQMPTimeout},
		"reads nothing": {qmptest.StopReading(0), errors.ErrQMPTimeout},
		"late":          {qmptest.Late(10 * time.Millisecond), nil},
		"two greetings": {qmptest.Greeting(), errors.ErrQMPConnection},
		"garbage":       {qmptest.Garbage("{}"), errors.ErrQMPConnection},
		"closes":        {qmptest.CloseAt(0), io.EOF},
		"closes later":  {qmptest.CloseAt(10), io.ErrUnexpectedEOF},
		"events first":  {qmptest.Flood("STOP", 10), nil},
		"both":          {qmptest.All(qmptest.Late(time.Millisecond), qmptest.Fault{}, qmptest.Flood("STOP", 1), qmptest.Fault{}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.OnConnect(tc.fault)
			ctx := within(t, 10*time.Second)
			if tc.want == errors.ErrQMPTimeout {
				ctx = within(t, 50*time.Millisecond)
			}
			c, err := qmp.Dial(ctx, s.Network, s.Addr)
			if tc.want == nil {
				require.NoError(t, err)
				require.NoError(t, c.Close())
				return
			}
			require.ErrorIs(t, err, errors.ErrQMPConnection)
			require.ErrorIs(t, err, tc.want)
			s.OnConnect(qmptest.Fault{})
			dial(t, s)
		})
	}
}

// Faults that leave a command unanswered and the connection as it is.
func TestFaultsThatStayQuiet(t *testing.T) {
	for name, f := range map[string]qmptest.Fault{
		"silent":     qmptest.Silent(),
		"half frame": qmptest.HalfFrame(),
		"stall":      qmptest.StallAt(3),
		"late":       qmptest.Late(time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := dial(t, s)
			sub := c.Subscribe()
			s.OnCommand("query-name", f)
			for _, command := range []string{"query-name", "query-status"} { // and the one behind it
				_, err := c.Execute(within(t, 30*time.Millisecond), command, nil)
				require.ErrorIs(t, err, errors.ErrQMPTimeout)
			}
			require.NoError(t, c.Err())
			s.Emit("STOP", nil)
			if name == "silent" || name == "late" { // all else goes on
				require.Equal(t, "STOP", soon(t, sub.C()).Name)
				_, err := c.ExecuteOOB(within(t, 10*time.Second), "query-yank", nil)
				require.NoError(t, err)
			}
			require.NoError(t, c.Close())
			s.OnCommand("query-name", qmptest.Fault{})
			_, err := dial(t, s).Execute(within(t, 10*time.Second), "query-name", nil)
			require.NoError(t, err)
		})
	}
}

func TestSilenceOutOfBandHoldsUpNothing(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	s.OnCommand("yank", qmptest.Silent())
	_, err := c.ExecuteOOB(within(t, 20*time.Millisecond), "yank", nil)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	_, err = c.Execute(within(t, 10*time.Second), "query-name", nil)
	require.NoError(t, err)
	s.OnCommand("query-yank", qmptest.WrongID(1<<50))
	_, err = c.ExecuteOOB(within(t, 10*time.Second), "query-yank", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
}

func TestLateReplyComes(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	s.OnCommand("query-name", qmptest.Late(30*time.Millisecond))
	begun := time.Now()
	_, err := c.Execute(within(t, 10*time.Second), "query-name", nil)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begun), 30*time.Millisecond)
}

func TestPeerThatStopsReading(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	s.Inject(qmptest.StopReading(100))
	s.Handle("big", func(qmptest.Request) (any, error) { return nil, nil })
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := c.Execute(ctx, "big", map[string]string{"x": strings.Repeat("x", 4<<20)})
		failed <- err
	}()
	time.AfterFunc(200*time.Millisecond, cancel) // long after marshalling
	require.ErrorIs(t, soon(t, failed), errors.ErrQMPTimeout)
	for _, r := range s.Requests() {
		require.NotEqual(t, "big", r.Command)
	}
}

// The exact number of bytes is written, from the first on.
func TestBytesAreCounted(t *testing.T) {
	s := start(t)
	for _, n := range []int{1, 7, 100} {
		s.OnConnect(qmptest.CloseAt(n))
		conn, err := net.Dial(s.Network, s.Addr)
		require.NoError(t, err)
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Len(t, got, n)
		require.NoError(t, conn.Close())
	}
}

func TestHugeFrame(t *testing.T) {
	const size = 1 << 20
	s := start(t)
	s.OnCommand("query-name", qmptest.Huge(size))
	c := dial(t, s, qmp.FrameLimit(size))
	out, err := c.Execute(within(t, 10*time.Second), "query-name", nil)
	require.NoError(t, err)
	require.Len(t, out, size-len(`{"return": }`+"\r\n"))
	s.OnCommand("query-yank", qmptest.Huge(size))
	out, err = c.ExecuteOOB(within(t, 10*time.Second), "query-yank", nil)
	require.NoError(t, err, "its id is there")
	require.Equal(t, `"xxx`, string(out[:4]))
}

func TestFlood(t *testing.T) {
	const count = 5000
	s := start(t)
	c := dial(t, s, qmp.EventQueue(2*count))
	sub := c.Subscribe("FLOOD")
	s.OnCommand("query-name", qmptest.Flood("FLOOD", count))
	_, err := c.Execute(within(t, 10*time.Second), "query-name", nil)
	require.NoError(t, err)
	for n := range count {
		e := soon(t, sub.C())
		require.Equal(t, fmt.Sprintf(`{"n": %d}`, n), string(e.Data))
	}
}

func TestResetOverTCP(t *testing.T) {
	s := start(t, qmptest.TCP())
	c := dial(t, s)
	s.Inject(qmptest.Reset())
	soon(t, c.Done())
	require.ErrorIs(t, c.Err(), syscall.ECONNRESET)
}

// What is no request gets QEMU 7.2's answer, and the next one is understood.
func TestBadRequests(t *testing.T) {
	s := start(t)
	conn, err := net.Dial(s.Network, s.Addr)
	require.NoError(t, err)
	defer conn.Close()
	in := bufio.NewScanner(conn)
	require.True(t, in.Scan())
	for _, tc := range []struct{ request, reply string }{
		{`{"execute":"query-status"}`, `{"error": {"class": "CommandNotFound", "desc": "Expecting capabilities negotiation with 'qmp_capabilities'"}}`},
		{`{"exec-oob":"query-yank","id":1}`, `{"id": 1, "error": {"class": "GenericError", "desc": "QMP input member 'exec-oob' is unexpected"}}`},
		{`{"execute":"qmp_capabilities","arguments":{"enable":["x"]}}`, `{"error": {"class": "GenericError", "desc": "Capability x not available"}}`},
		{`{"execute":"qmp_capabilities","arguments":{"enable":5}}`, `{"error": {"class": "GenericError", "desc": "Invalid parameter type for 'enable', expected: array"}}`},
		{`{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}, "id":{"a":[1,2]}}`, `{"return": {}, "id": {"a":[1,2]}}`},
		{`{"exec-oob":"query-yank"}`, `{"return": []}`},
		{"hello\n", `{"error": {"class": "GenericError", "desc": "JSON parse error, invalid keyword 'hello'"}}`},
		{"5\n", `{"error": {"class": "GenericError", "desc": "QMP input must be a JSON object"}}`},
		{`["}]"]`, `{"error": {"class": "GenericError", "desc": "QMP input must be a JSON object"}}`},
		{`{"execute":`, ""},
		{"\n\"query-name\"\n}", `{"return": {}}`},
		{`{"execute":"query-n`, ""},
		{"\xff", `{"error": {"class": "GenericError", "desc": "JSON parse error, invalid keyword '?'"}}`},
		{`{"a":1}`, `{"error": {"class": "GenericError", "desc": "QMP input member 'a' is unexpected"}}`},
		{`{}`, `{"error": {"class": "GenericError", "desc": "QMP input lacks member 'execute'"}}`},
		{`{"execute":5}`, `{"error": {"class": "GenericError", "desc": "QMP input member 'execute' must be a string"}}`},
		{`{"execute":"a","arguments":3}`, `{"error": {"class": "GenericError", "desc": "QMP input member 'arguments' must be an object"}}`},
		{`{"execute":"\"}{\\","id":null}`, `{"id": null, "error": {"class": "CommandNotFound", "desc": "The command \"}{\\ has not been found"}}`},
	} {
		_, err := io.WriteString(conn, tc.request)
		require.NoError(t, err)
		if tc.reply != "" {
			require.True(t, in.Scan())
			require.Equal(t, tc.reply, in.Text(), tc.request)
		}
	}
}
