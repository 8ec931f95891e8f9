package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestExecuteReturnsTheAnswer(t *testing.T) {
	c, server := connected(t)
	got := execute(t.Context(), c, "query-status", nil)
	server.expect(`{"execute":"query-status"}`)
	server.send(`{"return": {"running": true}}`)
	a := soon(t, got)
	require.NoError(t, a.err)
	require.JSONEq(t, `{"running": true}`, a.out)

	require.Equal(t, "7.2.22", c.Greeting().Version.String())
	require.Equal(t, []string{"oob"}, c.Greeting().Capabilities)
	require.Equal(t, "Debian", c.Greeting().Version.Package)
}

func TestRequestsAreCompact(t *testing.T) {
	c, server := connected(t)
	for _, tc := range []struct {
		args any
		want string
	}{
		{nil, `{"execute":"x"}`},
		{struct{}{}, `{"execute":"x"}`},
		{map[string]any{}, `{"execute":"x"}`},
		{map[string]any(nil), `{"execute":"x"}`},
		{map[string]any{"a": "<&>"}, `{"execute":"x","arguments":{"a":"<&>"}}`},
		{json.RawMessage(`{ "a" : 1 }`), `{"execute":"x","arguments":{"a":1}}`},
	} {
		got := execute(t.Context(), c, "x", tc.args)
		server.expect(tc.want)
		server.send(`{"return": {}}`)
		require.NoError(t, soon(t, got).err)
	}
}

func TestBadRequestsNeverReachTheWire(t *testing.T) {
	c, server := connected(t, FrameLimit(1000))
	for _, command := range []string{"", "Query", "query-status\n", `x","id":1`, "__", "__a", "__a_", "__A_b", "1a", "a b", "ä", strings.Repeat("X", 1000)} {
		_, err := c.Execute(t.Context(), command, nil)
		require.ErrorIs(t, err, errors.ErrQMP, "%q", command)
		require.Less(t, len(err.Error()), 300)
	}
	for _, args := range []any{1, "text", []int{1}, json.RawMessage(`{"a":`), func() {}, map[string]string{"a": strings.Repeat("x", 1000)}} {
		_, err := c.Execute(t.Context(), "x", args)
		require.ErrorIs(t, err, errors.ErrQMP)
	}
	got := execute(t.Context(), c, "__com.redhat_drive-mirror", nil)
	server.expect(`{"execute":"__com.redhat_drive-mirror"}`)
	server.send(`{"return": {}}`)
	require.NoError(t, soon(t, got).err)
}

func TestErrorsOfQEMUAreTyped(t *testing.T) {
	c, server := connected(t)
	for _, tc := range []struct{ reply, class, desc string }{
		{`{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}}`, "DeviceNotFound", "Device 'x' not found"},
		{`{"error": {"class": "GenericError", "desc": ""}}`, "GenericError", ""},
	} {
		got := execute(t.Context(), c, "device_del", map[string]string{"id": "x"})
		server.expect(`{"execute":"device_del","arguments":{"id":"x"}}`)
		server.send(tc.reply)
		var e *errors.QMPError
		require.ErrorAs(t, soon(t, got).err, &e)
		require.Equal(t, errors.QMPError{Command: "device_del", Class: tc.class, Desc: tc.desc}, *e)
	}
	require.NoError(t, c.Err())
}

func TestCancelledCommandKeepsItsPlace(t *testing.T) {
	c, server := connected(t)
	ctx, cancel := context.WithCancel(t.Context())
	first := execute(ctx, c, "first", nil)
	server.expect(`{"execute":"first"}`)
	second := execute(t.Context(), c, "second", nil)
	server.expect(`{"execute":"second"}`)

	start := time.Now()
	cancel()
	err := soon(t, first).err
	require.Less(t, time.Since(start), 2*time.Second)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, c.Err())

	server.send(`{"return": "first"}`, stopEvent, `{"return": "second"}`)
	a := soon(t, second)
	require.NoError(t, a.err)
	require.Equal(t, `"second"`, a.out)
}

// Every caller gets the reply to its own command, while others give up at random.
func TestRepliesReachTheirCallers(t *testing.T) {
	c, server := connected(t)
	padding := strings.Repeat("x", 32<<10)
	background(t, func() {
		server.serve(func(request string) string {
			var in struct{ Arguments struct{ N int } }
			_ = json.Unmarshal([]byte(request), &in)
			return fmt.Sprintf(`%s{"return": {"n": %d, "padding": "%s"}}`, stopEvent+"\r\n", in.Arguments.N, padding)
		})
	})
	var wg sync.WaitGroup
	var cancelled atomic.Int32
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%5 == g%5 {
					time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
				}
				n := g*1000 + i
				out, err := c.Execute(ctx, "echo", map[string]int{"n": n})
				cancel()
				if errors.Is(err, context.Canceled) {
					cancelled.Add(1)
					continue
				}
				var got struct{ N int }
				if err != nil || json.Unmarshal(out, &got) != nil || got.N != n {
					t.Errorf("command %d: got %d, %v", n, got.N, err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Positive(t, cancelled.Load(), "nothing was cancelled, so nothing was proven")
	require.NoError(t, c.Close())
}

func TestCommandsInFlightAreBounded(t *testing.T) {
	c, server := connected(t)
	var all []<-chan answer
	for range window + 1 {
		all = append(all, execute(t.Context(), c, "slow", nil))
	}
	for range window {
		server.expect(`{"execute":"slow"}`)
	}
	require.NoError(t, server.conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := server.in.ReadByte()
	require.True(t, errors.Is(err, context.DeadlineExceeded) || err.(net.Error).Timeout(), "more than the window was sent")
	require.NoError(t, server.conn.SetReadDeadline(time.Time{}))

	// One that waits for its turn can be cancelled, and out-of-band commands pass.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Execute(ctx, "never-sent", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	oob := make(chan error, 1)
	go func() { _, err := c.ExecuteOOB(t.Context(), "yank", nil); oob <- err }()
	server.send(`{"return": {}, "id": ` + server.expectOOB("yank") + `}`)
	require.NoError(t, soon(t, oob))

	server.send(`{"return": {}}`)
	server.expect(`{"execute":"slow"}`)
	server.send(strings.TrimSuffix(strings.Repeat(`{"return": {}}`+"\n", window), "\n"))
	for _, got := range all {
		require.NoError(t, soon(t, got).err)
	}
}

func TestOutOfBandRepliesOvertake(t *testing.T) {
	c, server := connected(t)
	inBand := execute(t.Context(), c, "slow", nil)
	server.expect(`{"execute":"slow"}`)
	oob := make(chan answer, 1)
	go func() {
		out, err := c.ExecuteOOB(t.Context(), "query-yank", nil)
		oob <- answer{string(out), err}
	}()
	server.send(`{"id": ` + server.expectOOB("query-yank") + `, "return": ["oob"]}`)
	require.Equal(t, answer{`["oob"]`, nil}, soon(t, oob))
	server.send(`{"return": "in band"}`)
	require.Equal(t, answer{`"in band"`, nil}, soon(t, inBand))

	// A late reply is dropped; one that nobody asked for ends the connection.
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, err := c.ExecuteOOB(ctx, "yank", nil); oob <- answer{err: err} }()
	late := `{"id": ` + server.expectOOB("yank") + `, "return": {}}`
	cancel()
	require.ErrorIs(t, soon(t, oob).err, context.Canceled)
	server.send(late)
	again := execute(t.Context(), c, "slow", nil)
	server.expect(`{"execute":"slow"}`)
	server.send(`{"return": {}}`)
	require.NoError(t, soon(t, again).err)
	server.send(late)
	closed(t, c.Done())
	require.ErrorIs(t, c.Err(), errors.ErrQMPConnection)
}

func TestOutOfBandNeedsTheMonitor(t *testing.T) {
	c := NewClient()
	defer c.Close()
	conn, server := pair(t)
	go func() {
		server.send(plainHello)
		_, _ = server.in.ReadString('\n')
		server.send(`{"return": {}}`)
	}()
	require.NoError(t, c.Connect(within(t, 10*time.Second), conn))
	_, err := c.ExecuteOOB(t.Context(), "yank", nil)
	require.ErrorIs(t, err, errors.ErrQMP)
	require.NotErrorIs(t, err, errors.ErrQMPConnection)
	require.NoError(t, c.Err())
}

func TestLostConnectionIsOneStickyError(t *testing.T) {
	exit := errors.New("QEMU ended with signal SIGKILL")
	var asked atomic.Int32
	c, server := connected(t, WithCause(func() error { asked.Add(1); return exit }))
	var all []<-chan answer
	for range 3 {
		all = append(all, execute(t.Context(), c, "slow", nil))
		server.expect(`{"execute":"slow"}`)
	}
	require.NoError(t, server.conn.Close())
	for _, got := range all {
		err := soon(t, got).err
		require.ErrorIs(t, err, errors.ErrQMPConnection)
		require.ErrorIs(t, err, io.EOF)
		require.ErrorIs(t, err, exit)
		require.ErrorIs(t, err, c.Err())
		require.Equal(t, "QMP slow: QMP connection lost: QEMU ended with signal SIGKILL", err.Error())
	}
	closed(t, c.Done())
	_, err := c.Execute(t.Context(), "later", nil)
	require.ErrorIs(t, err, c.Err())
	require.EqualValues(t, 1, asked.Load())
}

func TestGarbageEndsTheConnection(t *testing.T) {
	for _, garbage := range []string{
		"hello", "{", "[]", "{}", `{"return": {}}`, `{"error": {}}`, greeting, `{"id": 7, "return": {}}`,
		`{"id": "text", "return": {}}`, `{"return": {}} x`, "\x00", `{"event": 5}`, `{"return": ` + strings.Repeat("[", 20000),
	} {
		c, server := connected(t)
		server.send(garbage)
		closed(t, c.Done())
		require.ErrorIs(t, c.Err(), errors.ErrQMPConnection, garbage)
		require.Less(t, len(c.Err().Error()), 400)
	}
}

func TestFrameLimit(t *testing.T) {
	const limit = 300_000
	c, server := connected(t, FrameLimit(limit))
	reply := func(size int) string {
		return `{"return": "` + strings.Repeat("x", size-len(`{"return": ""}`+"\n")) + `"}` + "\n"
	}
	got := execute(t.Context(), c, "x", nil)
	server.expect(`{"execute":"x"}`)
	background(t, func() { _, _ = io.WriteString(server.conn, reply(limit)) })
	require.NoError(t, soon(t, got).err)

	got = execute(t.Context(), c, "x", nil)
	server.expect(`{"execute":"x"}`)
	background(t, func() { _, _ = io.WriteString(server.conn, reply(limit+1)) })
	err := soon(t, got).err
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorContains(t, err, "300000")
}

// The peer stops reading: commands end with their context. One that was written in part
// is written whole when the peer reads again, and its reply is dropped; one of which
// nothing was written has no effect.
func TestPeerThatStopsReading(t *testing.T) {
	c, server := connected(t)
	text := strings.Repeat("x", 4<<20)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	big := execute(ctx, c, "big", map[string]string{"data": text})
	require.Eventually(t, func() bool { // the socket is full
		c.sess.mu.Lock()
		defer c.sess.mu.Unlock()
		return len(c.sess.loaded) > 0 && c.sess.loaded[0].request.command == "big"
	}, 10*time.Second, time.Millisecond)
	waiting := execute(ctx, c, "never-written", nil)
	begun := time.Now()
	cancel()
	for _, got := range []<-chan answer{big, waiting} {
		err := soon(t, got).err
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Less(t, time.Since(begun), 2*time.Second)
	require.NoError(t, c.Err())

	next := execute(t.Context(), c, "next", nil)
	server.expect(`{"execute":"big","arguments":{"data":"` + text + `"}}`)
	server.expect(`{"execute":"next"}`)
	server.send(`{"return": "big"}`, `{"return": "next"}`)
	require.Equal(t, answer{`"next"`, nil}, soon(t, next))
}

func TestBlockedWriteOfNothingHarmsNothing(t *testing.T) {
	c, server := connected(t)
	s := c.sess
	fill := make([]byte, 4096) // fill the socket behind the client's back
	require.NoError(t, s.conn.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	filled := 0
	for {
		n, err := s.conn.Write(fill)
		filled += n
		if err != nil {
			break
		}
	}
	require.NoError(t, s.conn.SetWriteDeadline(time.Time{}))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	for range window + 2 { // more than there are places
		_, err := c.Execute(ctx, "never-written", nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.NoError(t, c.Err())

	_, err := io.CopyN(io.Discard, server.in, int64(filled))
	require.NoError(t, err)
	got := execute(t.Context(), c, "fine", nil)
	server.expect(`{"execute":"fine"}`)
	server.send(`{"return": 1}`)
	require.Equal(t, answer{"1", nil}, soon(t, got))
}

func TestContextThatIsOver(t *testing.T) {
	c, _ := connected(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Execute(ctx, "x", nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
}

func TestCloseEndsCommandsInFlight(t *testing.T) {
	c, server := connected(t, WithCause(func() error { return errors.New("not asked for") }))
	got := execute(t.Context(), c, "slow", nil)
	server.expect(`{"execute":"slow"}`)
	require.NoError(t, c.Close())
	err := soon(t, got).err
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorIs(t, err, net.ErrClosed)
	require.NotContains(t, err.Error(), "not asked for")
	require.NoError(t, c.Close())
	conn, _ := pair(t)
	require.ErrorIs(t, c.Connect(t.Context(), conn), net.ErrClosed)
}

func TestWithoutConnection(t *testing.T) {
	c := NewClient()
	_, err := c.Execute(t.Context(), "x", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.NoError(t, c.Err())
	sub := c.Subscribe()
	require.NoError(t, c.Close())
	require.Empty(t, closed(t, sub.C()))
	closed(t, c.Done())
	require.ErrorIs(t, c.Err(), errors.ErrQMPConnection)
}
