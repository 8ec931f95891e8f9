package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRun runs a VM for one command, with a bar on the terminal while it starts.
func TestRun(t *testing.T) {
	c := newTool(t)
	s := c.atTerminal(t, "run", "-n", "once", "--", "sh", "-c", "echo in the guest; exit 3")
	s.shows("once")
	s.shows("ready ")
	s.shows("in the guest")
	require.Equal(t, 3, s.proc.wait().code)
	require.Empty(t, c.run("ls", "-q").ok(t))
	c.requireNothingLeft()
}

// TestRunUnread leaves nothing when nobody reads its output any more.
func TestRunUnread(t *testing.T) {
	c := newTool(t)
	cmd := c.command("run", "-n", "once", "--", "sh", "-c", "while :; do echo more; done")
	var stderr buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(toolTime, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_, err = io.ReadFull(out, make([]byte, 5))
	require.NoError(t, err, stderr.String())
	require.NoError(t, out.Close())
	_ = cmd.Wait() // the code says it
	require.Equal(t, exitUnread, cmd.ProcessState.ExitCode(), stderr.String())
	require.Empty(t, stderr.String())
	require.Empty(t, c.run("ls", "-q").ok(t))
	c.requireNothingLeft()
}

// TestRunInterrupted leaves nothing, whenever it is interrupted.
func TestRunInterrupted(t *testing.T) {
	c := newTool(t)
	watch := c.watching()
	p := c.begin(nil, "run", "-n", "once")
	watch.said(`"to":"starting"`)
	p.interrupt()
	require.Equal(t, exitInterrupted, p.wait().code)
	watch.said(`"reason":"`)
	watch.interrupt()
	watch.wait()
	require.Empty(t, c.run("ls", "-q").ok(t))
	c.requireNothingLeft()
}

// watching begins a watch, and returns once it sees what happens: another VM comes and goes
// until it tells so.
func (c tool) watching() *child {
	c.t.Helper()
	watch := c.begin(nil, "watch", "--json")
	for until := time.Now().Add(toolTime); !strings.Contains(watch.out.String(), `"seen"`); {
		require.True(c.t, time.Now().Before(until), "nothing is seen")
		c.run("add", "--name", "seen").ok(c.t)
		c.run("rm", "seen", "--yes").ok(c.t)
	}
	return watch
}
