package qmptest_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a server that is closed, and found without errors of its own, when the
// test ends.
func start(t *testing.T, opts ...qmptest.Option) *qmptest.Server {
	t.Helper()
	s := qmptest.NewServer(opts...)
	t.Cleanup(func() {
		s.Close()
		require.NoError(t, s.Err())
	})
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, s *qmptest.Server, opts ...qmp.ClientOption) *qmp.Client {
	t.Helper()
	c, err := qmp.Dial(within(t, 10*time.Second), s.Network, s.Addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// soon receives from ch; nothing within ten seconds is a failure.
func soon[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing received in 10 s")
		panic("unreachable")
	}
}

func TestGreeting(t *testing.T) {
	c := dial(t, start(t))
	require.Equal(t, qmp.Version{Major: 7, Minor: 2, Micro: 22}, c.Greeting().Version)
	require.Equal(t, []string{"oob"}, c.Greeting().Capabilities)

	c = dial(t, start(t, qmptest.Version(10, 0, 1), qmptest.Package("Debian \"13\""), qmptest.Capabilities(), qmptest.TCP()))
	require.Equal(t, qmp.Version{Major: 10, Micro: 1, Package: `Debian "13"`}, c.Greeting().Version)
	require.Empty(t, c.Greeting().Capabilities)
	version, err := c.Execute(t.Context(), "query-version", nil)
	require.NoError(t, err)
	require.JSONEq(t, `{"qemu": {"major": 10, "minor": 0, "micro": 1}, "package": "Debian \"13\""}`, string(version))
}

func TestSocketIsPrivateAndRemoved(t *testing.T) {
	s := qmptest.NewServer()
	require.Equal(t, "unix", s.Network)
	dir, err := os.Stat(filepath.Dir(s.Addr))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), dir.Mode().Perm())
	socket, err := os.Stat(s.Addr)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), socket.Mode().Perm())
	s.Close()
	s.Close()
	require.NoDirExists(t, filepath.Dir(s.Addr))
	_, err = s.Conn()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestLongTempFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a-folder-whose-name-is-far-too-long-for-the-path-of-a-socket-on-any-system-that-there-is")
	require.NoError(t, os.Mkdir(dir, 0o700))
	t.Setenv("TMPDIR", dir)
	dial(t, start(t))
}

func TestServerThatCannotListen(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	s := qmptest.NewServer()
	defer s.Close()
	require.ErrorIs(t, s.Err(), os.ErrNotExist)
	require.Empty(t, s.Addr)
	conn, err := s.Conn() // needs no folder
	require.NoError(t, err)
	c := qmp.NewClient()
	defer c.Close()
	require.NoError(t, c.Connect(within(t, 10*time.Second), conn))
}

func TestBuiltInCommands(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	events := c.Subscribe()
	for _, step := range []struct{ command, args, answer, event string }{
		{"query-status", "", `{"status": "running", "singlestep": false, "running": true}`, ""},
		{"cont", "", `{}`, ""},
		{"stop", "", `{}`, "STOP"},
		{"stop", "", `{}`, ""},
		{"query-status", "", `{"status": "paused", "singlestep": false, "running": false}`, ""},
		{"cont", "", `{}`, "RESUME"},
		{"query-name", "", `{}`, ""},
		{"system_reset", "", `{}`, "RESET"},
		{"system_powerdown", "", `{}`, "POWERDOWN"},
		{"device_add", `{"driver": "virtio-rng-pci", "id": "r1"}`, `{}`, ""},
		{"device_del", `{"id": "r1"}`, `{}`, "DEVICE_DELETED"},
	} {
		var args any
		if step.args != "" {
			args = json.RawMessage(step.args)
		}
		out, err := c.Execute(t.Context(), step.command, args)
		require.NoError(t, err, step.command)
		require.JSONEq(t, step.answer, string(out), step.command)
		if step.event != "" {
			require.Equal(t, step.event, soon(t, events.C()).Name)
		}
	}
	require.Empty(t, events.C())
	commands, err := qmp.Do[[]struct{ Name string }](t.Context(), c, "query-commands", nil)
	require.NoError(t, err)
	for _, command := range commands {
		_, err := c.Execute(t.Context(), command.Name, nil)
		if refused := new(errors.QMPError); errors.As(err, &refused) && command.Name != "qmp_capabilities" {
			require.NotEqual(t, "CommandNotFound", refused.Class, command.Name)
		}
		if command.Name == "query-yank" { // quit is next
			break
		}
	}
}

func TestQuit(t *testing.T) {
	s := start(t)
	first, second := dial(t, s), dial(t, s)
	sub := second.Subscribe("SHUTDOWN")
	_, err := first.Execute(t.Context(), "quit", nil)
	require.NoError(t, err)
	var data struct{ Reason string }
	e := soon(t, sub.C())
	require.NoError(t, e.Decode(&data))
	require.Equal(t, "host-qmp-quit", data.Reason)
	for _, c := range []*qmp.Client{first, second} {
		soon(t, c.Done())
		require.ErrorIs(t, c.Err(), io.EOF)
	}
	_, err = net.Dial(s.Network, s.Addr)
	require.Error(t, err, "QEMU has gone")
}

func TestRefusals(t *testing.T) {
	c := dial(t, start(t))
	for _, tc := range []struct{ command, args, class, desc string }{
		{"nonsense", `{}`, "CommandNotFound", "The command nonsense has not been found"},
		{"device_del", `{"id": "x"}`, "DeviceNotFound", "Device 'x' not found"},
		{"device_del", `{}`, "GenericError", "Parameter 'id' is missing"},
		{"device_del", `{"id": 1}`, "GenericError", "Invalid parameter type for 'id', expected: string"},
		{"getfd", `{"fdname": "a"}`, "GenericError", "No file descriptor supplied via SCM_RIGHTS"},
		{"closefd", `{"fdname": "a"}`, "GenericError", "File descriptor named 'a' not found"},
		{"add-fd", `{}`, "GenericError", "No file descriptor supplied via SCM_RIGHTS"},
		{"remove-fd", `{"fdset-id": 5}`, "GenericError", "File descriptor named 'fdset-id:5' not found"},
		{"qmp_capabilities", `{}`, "CommandNotFound", "Capabilities negotiation is already complete, command ignored"},
	} {
		_, err := c.Execute(t.Context(), tc.command, json.RawMessage(tc.args))
		var refused *errors.QMPError
		require.ErrorAs(t, err, &refused, tc.command)
		require.Equal(t, errors.QMPError{Command: tc.command, Class: tc.class, Desc: tc.desc}, *refused)
	}
}

// go-qemu's monitor, which has nothing in common with this package, gets on with it.
func TestGoQEMU(t *testing.T) {
	s := start(t)
	m, err := goqemu.NewSocketMonitor(s.Network, s.Addr, 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, m.Connect())
	require.Equal(t, 7, m.Version.QEMU.Major)
	out, err := m.Run([]byte(`{"execute":"query-status"}`)) // without a line end
	require.NoError(t, err)
	require.JSONEq(t, `{"return": {"status": "running", "singlestep": false, "running": true}}`, string(out))
	_, err = m.Run([]byte(`{"execute":"nonsense"}`))
	require.ErrorContains(t, err, "The command nonsense has not been found")
	s.Handle("greet", func(r qmptest.Request) (any, error) {
		var args struct{ Name string }
		return map[string]any{"hello": &args.Name}, r.Decode(&args)
	})
	out, err = m.Run([]byte(`{"execute":"greet","arguments":{"name":"a } b"},"id":"x-1"}`))
	require.NoError(t, err)
	require.JSONEq(t, `{"return": {"hello": "a } b"}, "id": "x-1"}`, string(out))

	events, err := m.Events(t.Context())
	require.NoError(t, err)
	s.Emit("WATCHDOG", map[string]string{"action": "reset"})
	e := soon(t, events)
	require.Equal(t, "WATCHDOG", e.Event)
	require.Equal(t, map[string]any{"action": "reset"}, e.Data)
	require.NoError(t, m.Disconnect())
}

func TestRequestsAndAwait(t *testing.T) {
	s := start(t)
	c := dial(t, s)
	done := make(chan error, 1)
	go func() {
		_, err := s.Await(within(t, 10*time.Second), "stop", 2)
		done <- err
	}()
	for range 2 {
		_, err := c.Execute(t.Context(), "stop", map[string]int{"n": 7})
		require.NoError(t, err)
	}
	require.NoError(t, soon(t, done))
	var names []string
	for _, r := range s.Requests() {
		names = append(names, r.Command)
	}
	require.Equal(t, []string{"qmp_capabilities", "stop", "stop"}, names)
	r, err := s.Await(t.Context(), "stop", 1)
	require.NoError(t, err)
	require.JSONEq(t, `{"n": 7}`, string(r.Arguments))
	require.Equal(t, 1, r.Conn)

	_, err = s.Await(within(t, 20*time.Millisecond), "never", 1)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	go func() {
		_, err := s.Await(context.Background(), "never", 1)
		done <- err
	}()
	s.Close()
	require.ErrorIs(t, soon(t, done), net.ErrClosed)
}

func TestHandlers(t *testing.T) {
	s := start(t)
	s.Handle("refuses", func(qmptest.Request) (any, error) { return nil, qmptest.Error("DeviceNotActive", "not now") })
	s.Handle("fails", func(qmptest.Request) (any, error) { return nil, io.ErrNoProgress })
	s.Handle("lines", func(qmptest.Request) (any, error) { return json.RawMessage("[1,\n2]"), nil })
	s.Handle("stop", func(qmptest.Request) (any, error) { return "scripted", nil })
	c := dial(t, s)
	var refused *errors.QMPError
	_, err := c.Execute(t.Context(), "refuses", nil)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "DeviceNotActive", refused.Class)
	_, err = c.Execute(t.Context(), "fails", nil)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, errors.QMPError{Command: "fails", Class: "GenericError", Desc: io.ErrNoProgress.Error()}, *refused)
	for command, want := range map[string]string{"lines": "[1,2]", "stop": `"scripted"`} {
		out, err := c.Execute(t.Context(), command, nil)
		require.NoError(t, err)
		require.JSONEq(t, want, string(out))
	}
	s.Handle("stop", nil)
	out, err := c.Execute(t.Context(), "stop", nil)
	require.NoError(t, err)
	require.Equal(t, "{}", string(out))
}

func TestResultsWithoutJSONAreReported(t *testing.T) {
	for _, bad := range []any{func() {}, json.RawMessage("{")} {
		s := qmptest.NewServer()
		s.Handle("bad", func(qmptest.Request) (any, error) { return bad, nil })
		_, err := dial(t, s).Execute(t.Context(), "bad", nil)
		require.ErrorIs(t, err, errors.ErrQMPCommand)
		require.ErrorIs(t, s.Err(), errors.ErrQMP)
		s.Close()
	}
}

// A command hangs; an out-of-band one passes it, and ends it.
func TestOutOfBand(t *testing.T) {
	s := start(t)
	release := make(chan struct{})
	s.Handle("hangs", func(qmptest.Request) (any, error) { <-release; return "done", nil })
	s.Handle("unhang", func(r qmptest.Request) (any, error) { close(release); return r.OOB, nil })
	c := dial(t, s)
	got := make(chan string, 1)
	go func() {
		out, _ := c.Execute(within(t, 10*time.Second), "hangs", nil)
		got <- string(out)
	}()
	_, err := s.Await(within(t, 10*time.Second), "hangs", 1)
	require.NoError(t, err)
	_, err = c.ExecuteOOB(t.Context(), "query-status", nil)
	require.ErrorContains(t, err, "The command query-status does not support OOB")
	out, err := c.ExecuteOOB(t.Context(), "unhang", nil)
	require.NoError(t, err)
	require.Equal(t, "true", string(out))
	require.Equal(t, `"done"`, soon(t, got))
}

func TestCloseEndsHandlersThatWaitForIt(t *testing.T) {
	s := qmptest.NewServer()
	s.Handle("hangs", func(r qmptest.Request) (any, error) { <-r.Context().Done(); return qmptest.NoReply(), nil })
	c := dial(t, s)
	failed := make(chan error, 1)
	go func() { _, err := c.Execute(context.Background(), "hangs", nil); failed <- err }()
	_, err := s.Await(within(t, 10*time.Second), "hangs", 1)
	require.NoError(t, err)
	s.Close()
	require.ErrorIs(t, soon(t, failed), errors.ErrQMPConnection)
}

func TestFiles(t *testing.T) {
	s := start(t)
	conn, err := s.Conn()
	require.NoError(t, err)
	c := qmp.NewClient()
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.Connect(within(t, 10*time.Second), conn))
	s.Handle("write-into", func(r qmptest.Request) (any, error) {
		if len(r.Files) != 1 {
			return len(r.Files), nil
		}
		_, err := r.Files[0].WriteString("hello")
		return 1, err
	})
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	var wg sync.WaitGroup // others' requests lie around those with files
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if out, err := c.Execute(t.Context(), "write-into", nil); err != nil || string(out) != "0" {
					t.Errorf("%s files, %v", out, err)
				}
			}
		})
	}
	for range 20 {
		out, err := c.ExecuteWithFiles(t.Context(), "write-into", nil, w)
		require.NoError(t, err)
		require.Equal(t, "1", string(out))
	}
	wg.Wait()
	text := make([]byte, 100)
	_, err = io.ReadFull(r, text)
	require.NoError(t, err)
	require.Equal(t, "hellohello", string(text[90:]))

	out, err := c.ExecuteWithFiles(t.Context(), "add-fd", map[string]any{"fdset-id": 3}, w)
	require.NoError(t, err)
	require.JSONEq(t, `{"fdset-id": 3, "fd": 1}`, string(out))
	_, err = c.Execute(t.Context(), "remove-fd", map[string]any{"fdset-id": 3})
	require.NoError(t, err)
	_, err = c.ExecuteWithFiles(t.Context(), "getfd", map[string]any{"fdname": "a"}, w)
	require.NoError(t, err)
	_, err = c.Execute(t.Context(), "closefd", map[string]any{"fdname": "a"})
	require.NoError(t, err)

	require.NoError(t, w.Close())
	s.Close() // and with it the files that write-into left open
	_, err = r.Read(text)
	require.Equal(t, io.EOF, err)
}

func TestOneClientAtATime(t *testing.T) {
	s := start(t, qmptest.OneClient())
	first := dial(t, s)
	_, err := qmp.Dial(within(t, 50*time.Millisecond), s.Network, s.Addr)
	require.ErrorIs(t, err, errors.ErrQMPTimeout, "the second is not greeted")
	conn, err := s.Conn()
	require.NoError(t, err)
	waiting := qmp.NewClient()
	defer waiting.Close()
	connected := make(chan error, 1)
	go func() { connected <- waiting.Connect(within(t, 10*time.Second), conn) }()
	require.NoError(t, first.Close())
	require.NoError(t, soon(t, connected))
}
