package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// startQEMU starts a QEMU without a machine whose monitor is one end of a socket pair,
// and returns the process and a connected client.
func startQEMU(t testing.TB, opts ...ClientOption) (*exec.Cmd, *Client) {
	t.Helper()
	conn, server := pair(t)
	file, err := server.conn.File()
	require.NoError(t, err)
	require.NoError(t, server.conn.Close())
	cmd, stderr := launchQEMU(t, []*os.File{file}, "-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control")
	c := NewClient(opts...)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.Connect(within(t, 30*time.Second), conn), "%s", stderr)
	return cmd, c
}

// qemuMonitors starts a QEMU that has n monitors and returns their sockets.
func qemuMonitors(t testing.TB, n int) (paths []string) {
	t.Helper()
	var files []*os.File
	var args []string
	for i := range n {
		path := socketPath(t, "qmp")
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		file, err := l.(*net.UnixListener).File()
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		paths, files = append(paths, path), append(files, file)
		args = append(args, "-chardev", fmt.Sprintf("socket,id=m%d,fd=%d,server=on,wait=off", i, 3+i),
			"-mon", fmt.Sprintf("chardev=m%d,mode=control", i))
	}
	launchQEMU(t, files, args...)
	return paths
}

// launchQEMU starts a QEMU without a machine, which gets files from descriptor 3 on.
func launchQEMU(t testing.TB, files []*os.File, args ...string) (*exec.Cmd, fmt.Stringer) {
	t.Helper()
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		if os.Getenv("MAQET_REQUIRE") == "1" {
			require.NoError(t, err)
		}
		t.Skip("qemu-system-x86_64 is missing: apt install qemu-system-x86")
	}
	args = append([]string{"-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S"}, args...)
	cmd := exec.Command(binary, args...)
	cmd.ExtraFiles = files
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, stderr
}

func TestQEMUSchemaAndStatus(t *testing.T) {
	_, c := startQEMU(t)
	require.GreaterOrEqual(t, c.Greeting().Version.Major, 7)
	out, err := c.Execute(within(t, 30*time.Second), "query-qmp-schema", nil)
	require.NoError(t, err)
	require.Greater(t, len(out), 100_000)
	var schema []struct {
		Name string
		Meta string `json:"meta-type"`
	}
	require.NoError(t, json.Unmarshal(out, &schema))

	m := NewManager(oneVM{c})
	status, err := m.Status(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, StatusInfo{Status: "prelaunch"}, status)
}

func TestQEMUKnowsNoCommandThatThePolicyDoesNot(t *testing.T) {
	_, c := startQEMU(t)
	commands, err := Call[[]struct{ Name string }](t.Context(), NewManager(oneVM{c}), "web", "query-commands", nil)
	require.NoError(t, err)
	for _, command := range commands {
		require.True(t, validCommand(command.Name), command.Name)
		_, listed := classify(command.Name)
		if v := c.Greeting().Version; v.Major <= 10 {
			require.True(t, listed, "%s is in no class", command.Name)
		}
	}
}

func TestQEMULargeRepliesFromManyGoroutines(t *testing.T) {
	_, c := startQEMU(t)
	commands := map[string]string{ // each with what only its answer has
		"query-commands": `"query-commands"`, "query-machines": `"cpu-max"`,
		"qom-list-types": `"virtio-rng-pci"`, "query-cpu-definitions": `"unavailable-features"`,
		"query-status": `"singlestep"`, "query-name": `{}`,
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				for command, want := range commands {
					out, err := c.Execute(t.Context(), command, nil)
					if err != nil || !json.Valid(out) || !strings.Contains(string(out), want) {
						t.Errorf("%s: %.80s, %v", command, out, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestQEMUErrors(t *testing.T) {
	_, c := startQEMU(t)
	var e *errors.QMPError
	_, err := c.Execute(t.Context(), "no-such-command", nil)
	require.ErrorAs(t, err, &e)
	require.Equal(t, "CommandNotFound", e.Class)
	_, err = c.Execute(t.Context(), "device_del", map[string]string{"id": "nobody"})
	require.ErrorAs(t, err, &e)
	require.Equal(t, "DeviceNotFound", e.Class)
	_, err = c.ExecuteOOB(t.Context(), "query-status", nil)
	require.ErrorAs(t, err, &e, "query-status can't run out of band")
	out, err := c.ExecuteOOB(t.Context(), "query-yank", nil)
	require.NoError(t, err)
	require.Contains(t, string(out), `"chardev"`)
}

func TestQEMUGetsFiles(t *testing.T) {
	_, c := startQEMU(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	ctx := within(t, 30*time.Second)
	out, err := c.ExecuteWithFiles(ctx, "add-fd", map[string]any{"fdset-id": 7, "opaque": "pipe"}, w)
	require.NoError(t, err)
	require.Contains(t, string(out), `"fdset-id": 7`)
	_, err = c.ExecuteWithFiles(ctx, "getfd", map[string]string{"fdname": "pipe"}, w)
	require.NoError(t, err)
	_, err = w.WriteString("still ours")
	require.NoError(t, err)
	require.NoError(t, w.Close())

	// QEMU has the other ends: the pipe ends only when it lets go of both.
	_, err = c.Execute(ctx, "closefd", map[string]string{"fdname": "pipe"})
	require.NoError(t, err)
	require.NoError(t, r.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	text, err := io.ReadAll(r)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, "still ours", string(text))
	_, err = c.Execute(ctx, "remove-fd", map[string]int{"fdset-id": 7})
	require.NoError(t, err)

	_, err = c.ExecuteWithFiles(ctx, "getfd", map[string]string{"fdname": "pipe"}, w) // closed
	require.ErrorIs(t, err, errors.ErrQMP)
	require.NoError(t, c.Err(), "a file that is not open is no fault of the connection")
	_, err = c.ExecuteWithFiles(ctx, "query-name", nil)
	require.NoError(t, err, "without files it is Execute")

	var wg sync.WaitGroup // each command gets its own file
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		wg.Go(func() {
			if _, err := c.ExecuteWithFiles(ctx, "getfd", map[string]string{"fdname": name}, r); err != nil {
				t.Errorf("getfd %s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

func TestQEMUKilledWithCommandsInFlight(t *testing.T) {
	cmd, c := startQEMU(t, WithCause(func() error { return errors.New("killed by the test") }))
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
	var all []<-chan answer
	for range 2 * window {
		all = append(all, execute(t.Context(), c, "query-status", nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Execute(ctx, "query-name", nil)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.NoError(t, cmd.Process.Kill())
	for _, got := range all {
		err := soon(t, got).err
		require.ErrorIs(t, err, errors.ErrQMPConnection)
		require.ErrorContains(t, err, "killed by the test")
	}
	closed(t, c.Done())
}

func TestQEMUQuit(t *testing.T) {
	cmd, c := startQEMU(t)
	sub := c.Subscribe("SHUTDOWN")
	_, err := c.Execute(t.Context(), "quit", nil)
	require.NoError(t, err, "the reply comes before the end")
	require.NoError(t, cmd.Wait())
	e := soon(t, sub.C())
	var data struct{ Reason string }
	require.NoError(t, e.Decode(&data))
	require.Equal(t, "host-qmp-quit", data.Reason)
	require.Empty(t, closed(t, sub.C()))
	require.ErrorIs(t, c.Err(), io.EOF)
}

// A client goes while QEMU works for it, and the next one comes at once: QEMU gives the
// reply to the new one, who must not take it for its own.
func TestQEMURepliesToAnEarlierClient(t *testing.T) {
	path := qemuMonitors(t, 1)[0]
	for range 20 {
		first, err := Dial(within(t, 30*time.Second), "unix", path)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		_, err = first.Execute(ctx, "query-qmp-schema", nil)
		cancel()
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
		require.NoError(t, first.Close())

		second, err := Dial(within(t, 30*time.Second), "unix", path)
		require.NoError(t, err)
		for range 3 {
			out, err := second.Execute(t.Context(), "query-status", nil)
			require.NoError(t, err)
			require.Contains(t, string(out), "prelaunch")
		}
		require.NoError(t, second.Close())
	}
}
