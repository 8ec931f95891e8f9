package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func agentPair(t *testing.T) (*Agent, *fake) {
	conn, server := pair(t)
	a := NewAgent(conn)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a, server
}

// The first character is the mark, which is no valid UTF-8.
var syncRequest = regexp.MustCompile(`^\x{FFFD}\{"execute":"guest-sync-delimited","arguments":\{"id":(\d+)\}\}\n$`)

// sync reads a sync request and returns its id.
func (f *fake) sync() string {
	f.t.Helper()
	line, err := f.in.ReadBytes('\n')
	require.NoError(f.t, err)
	match := syncRequest.FindSubmatch(line)
	require.NotNil(f.t, match, "%q is no sync", line)
	return string(match[1])
}

func (f *fake) write(text string) {
	f.t.Helper()
	_, err := f.conn.Write([]byte(text))
	require.NoError(f.t, err)
}

// ask runs a command of the agent in the background.
func ask(ctx context.Context, a *Agent, command string) <-chan answer {
	ch := make(chan answer, 1)
	go func() {
		out, err := a.Execute(ctx, command, nil)
		ch <- answer{string(out), err}
	}()
	return ch
}

func TestAgentSyncsBeforeTheFirstCommand(t *testing.T) {
	a, server := agentPair(t)
	got := ask(t.Context(), a, "guest-ping")
	id := server.sync()
	// Half a line of an earlier reply, the reply to the mark, an earlier sync.
	server.write(`turn": {"bytes": 5}}` + "\n" + `{"error": {"class": "GenericError", "desc": "JSON parse error"}}` + "\n")
	server.write("\xff" + `{"return": 1}` + "\n" + "\xff\xff{garbage\n")
	server.write("\xff" + `{"return": ` + id + "}\n")
	server.expect(`{"execute":"guest-ping"}`)
	server.write(`{"return": {}}` + "\n")
	require.Equal(t, answer{"{}", nil}, soon(t, got))

	// In step: no sync before the next one.
	got = ask(t.Context(), a, "guest-info")
	server.expect(`{"execute":"guest-info"}`)
	server.write(`{"error": {"class": "CommandNotFound", "desc": "gone"}}` + "\n")
	var e *errors.QMPError
	require.ErrorAs(t, soon(t, got).err, &e)
	require.Equal(t, errors.QMPError{Command: "guest-info", Class: "CommandNotFound", Desc: "gone"}, *e)
	got = ask(t.Context(), a, "guest-info")
	server.expect(`{"execute":"guest-info"}`)
	server.write(`{"return": 1}` + "\n")
	require.NoError(t, soon(t, got).err)
}

func TestAgentSyncsAfterACancelledCommand(t *testing.T) {
	a, server := agentPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := ask(ctx, a, "guest-exec")
	server.write("\xff" + `{"return": ` + server.sync() + "}\n")
	server.expect(`{"execute":"guest-exec"}`)
	server.write(`{"return": {"pi`) // half a reply
	time.Sleep(10 * time.Millisecond)
	start := time.Now()
	cancel()
	err := soon(t, got).err
	require.Less(t, time.Since(start), 2*time.Second)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, a.Err())

	got = ask(t.Context(), a, "guest-ping")
	id := server.sync()
	server.write(`d": 7}}` + "\n\xff" + `{"return": ` + id + "}\n")
	server.expect(`{"execute":"guest-ping"}`)
	server.write(`{"return": "pong"}` + "\n")
	require.Equal(t, answer{`"pong"`, nil}, soon(t, got))
}

func TestAgentThatNeverAnswers(t *testing.T) {
	a, _ := agentPair(t)
	for _, try := range []func(context.Context) error{
		a.Sync,
		func(ctx context.Context) error { _, err := a.Execute(ctx, "guest-ping", nil); return err },
		func(ctx context.Context) error { return a.ExecuteNoReply(ctx, "guest-shutdown", nil) },
	} {
		start := time.Now()
		err := try(within(t, 30*time.Millisecond))
		require.Less(t, time.Since(start), 2*time.Second)
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.NoError(t, a.Err())
}

// Nobody reads the port: the socket fills up, and writes end with their context.
func TestAgentPortThatNobodyReads(t *testing.T) {
	a, server := agentPair(t)
	got := make(chan error, 1)
	go func() {
		_, err := a.Execute(t.Context(), "guest-ping", nil)
		got <- err
	}()
	server.write("\xff" + `{"return": ` + server.sync() + "}\n")
	server.expect(`{"execute":"guest-ping"}`)
	server.write(`{"return": {}}` + "\n")
	require.NoError(t, soon(t, got))

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, cancel)
	_, err := a.Execute(ctx, "guest-file-write", map[string]string{"buf-b64": strings.Repeat("x", 4<<20)})
	require.ErrorIs(t, err, errors.ErrQMPTimeout)

	// The next sync ends the half request with its mark.
	go func() { got <- a.Sync(t.Context()) }()
	_, err = server.in.ReadBytes(0xFF)
	require.NoError(t, err)
	require.NoError(t, server.in.UnreadByte())
	server.write("\xff" + `{"return": ` + server.sync() + "}\n")
	require.NoError(t, soon(t, got))
}

func TestAgentCommandsTakeTurns(t *testing.T) {
	a, server := agentPair(t)
	background(t, func() {
		for {
			line, err := server.in.ReadBytes('\n')
			if err != nil {
				return
			}
			reply := fmt.Sprintf(`{"return": %q}`, strings.Split(string(line), `"`)[3])
			if match := syncRequest.FindSubmatch(line); match != nil {
				reply = "\xff" + `{"return": ` + string(match[1]) + "}"
			}
			if _, err := io.WriteString(server.conn, reply+"\n"); err != nil {
				return
			}
		}
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				command := fmt.Sprintf("guest-%d-%d", g, i)
				ctx, cancel := context.WithCancel(t.Context())
				if i%10 == g {
					time.AfterFunc(time.Duration(i)*5*time.Microsecond, cancel)
				}
				out, err := a.Execute(ctx, command, nil)
				cancel()
				var got string
				if err == nil && (json.Unmarshal(out, &got) != nil || got != command) {
					t.Errorf("%s got %s", command, out)
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", command, err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, a.Close())
}

func TestAgentCommandWithoutReply(t *testing.T) {
	a, server := agentPair(t)
	done := make(chan error, 1)
	go func() {
		done <- a.ExecuteNoReply(t.Context(), "guest-shutdown", map[string]string{"mode": "powerdown"})
	}()
	server.write("\xff" + `{"return": ` + server.sync() + "}\n")
	server.expect(`{"execute":"guest-shutdown","arguments":{"mode":"powerdown"}}`)
	require.NoError(t, soon(t, done))

	// It failed, nobody waits for that error, and the next command gets its own reply.
	server.write(`{"error": {"class": "GenericError", "desc": "no"}}` + "\n")
	got := ask(t.Context(), a, "guest-ping")
	server.write("\xff" + `{"return": ` + server.sync() + "}\n")
	server.expect(`{"execute":"guest-ping"}`)
	server.write(`{"return": {}}` + "\n")
	require.NoError(t, soon(t, got).err)
}

func TestAgentGarbageInsteadOfAReply(t *testing.T) {
	a, server := agentPair(t)
	got := ask(t.Context(), a, "guest-ping")
	server.write("\xff" + `{"return": ` + server.sync() + "}\n")
	server.expect(`{"execute":"guest-ping"}`)
	server.write("login: \n")
	require.ErrorIs(t, soon(t, got).err, errors.ErrAgentUnavailable)
	got = ask(t.Context(), a, "guest-ping")
	server.write("\xff" + `{"return": ` + server.sync() + "}\n")
	server.expect(`{"execute":"guest-ping"}`)
	server.write("\xff" + `{"return": {}}` + "\n")
	require.NoError(t, soon(t, got).err)
}

func TestAgentConnectionLost(t *testing.T) {
	a, server := agentPair(t)
	got := ask(t.Context(), a, "guest-ping")
	server.sync()
	require.NoError(t, server.conn.Close())
	err := soon(t, got).err
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorIs(t, err, a.Err())
	closed(t, a.Done())
	_, err = a.Execute(t.Context(), "guest-ping", nil)
	require.ErrorIs(t, err, a.Err())
}

func TestAgentCloseEndsCommands(t *testing.T) {
	a, server := agentPair(t)
	got := ask(t.Context(), a, "guest-ping")
	server.sync()
	waiting := ask(t.Context(), a, "guest-info")
	require.NoError(t, a.Close())
	for _, ch := range []<-chan answer{got, waiting} {
		err := soon(t, ch).err
		require.ErrorIs(t, err, errors.ErrQMPConnection)
		require.ErrorIs(t, err, net.ErrClosed)
	}
}

func TestAgentBadCommand(t *testing.T) {
	a, _ := agentPair(t)
	_, err := a.Execute(t.Context(), "guest-ping\n", nil)
	require.ErrorIs(t, err, errors.ErrQMP)
	require.ErrorIs(t, a.ExecuteNoReply(t.Context(), "x", 1), errors.ErrQMP)
}
