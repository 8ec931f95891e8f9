package qmp

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Environment of a process that TestTwoProcessesOneQEMU starts.
const (
	twinName     = "MAQET_QMP_TWIN"          // tells one from the other
	twinMonitors = "MAQET_QMP_TWIN_MONITORS" // paths of sockets
	twinTime     = "MAQET_QMP_TWIN_TIME"
)

// Two processes drive one QEMU at full speed, over monitors of their own. Each caller has
// an object that only it changes and reads, so that a reply to another's command is
// noticed. Three seconds; with MAQET_LONG=1 a minute.
func TestTwoProcessesOneQEMU(t *testing.T) {
	if name := os.Getenv(twinName); name != "" { // this is one of them
		twin(t, name)
		return
	}
	last := 3 * time.Second
	if os.Getenv("MAQET_LONG") == "1" {
		last = time.Minute
	}
	monitors := qemuMonitors(t, 4)
	var twins []*exec.Cmd
	var outputs []*bufio.Scanner
	for i := range 2 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestTwoProcessesOneQEMU$", "-test.v", "-test.count=1")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=twin%d", twinName, i),
			twinMonitors+"="+strings.Join(monitors[2*i:2*i+2], ":"), twinTime+"="+last.String())
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		twins, outputs = append(twins, cmd), append(outputs, bufio.NewScanner(stdout))
	}
	for i, out := range outputs {
		commands, output := 0, ""
		for out.Scan() {
			output += out.Text() + "\n"
			if text, ok := strings.CutPrefix(out.Text(), "commands: "); ok {
				n, err := strconv.Atoi(text)
				require.NoError(t, err)
				commands = n
			}
		}
		require.NoError(t, twins[i].Wait(), output)
		t.Logf("twin %d: %d commands in %v, no mismatch", i, commands, last)
		require.Greater(t, commands, 100)
	}
}

// twin is one of the two processes.
func twin(t *testing.T, name string) {
	last, err := time.ParseDuration(os.Getenv(twinTime))
	require.NoError(t, err)
	until := time.Now().Add(last)
	var commands atomic.Int64
	var callers sync.WaitGroup
	for m, path := range strings.Split(os.Getenv(twinMonitors), ":") {
		c, err := Dial(within(t, 30*time.Second), "unix", path)
		require.NoError(t, err)
		defer c.Close()
		for g := range 8 {
			callers.Go(func() {
				n, err := twinCaller(c, fmt.Sprintf("%s-m%d-c%d", name, m, g), until)
				commands.Add(n)
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	callers.Wait()
	fmt.Printf("commands: %d\n", commands.Load())
}

// twinCaller writes a new value into the object called id, reads it back, and asks for
// something else, until the time is over.
func twinCaller(c *Client, id string, until time.Time) (commands int64, err error) {
	ctx, cancel := context.WithDeadline(context.Background(), until.Add(30*time.Second))
	defer cancel()
	_, err = c.Execute(ctx, "object-add", map[string]string{"qom-type": "authz-simple", "id": id, "identity": id})
	if err != nil {
		return 0, err
	}
	place := func(value string) map[string]string {
		args := map[string]string{"path": "/objects/" + id, "property": "identity"}
		if value != "" {
			args["value"] = value
		}
		return args
	}
	for n := 0; time.Now().Before(until); n++ {
		want := fmt.Sprintf("%s-%d", id, n)
		for _, step := range []struct {
			command string
			args    any
			want    string
		}{
			{"qom-set", place(want), "{}"},
			{"qom-get", place(""), strconv.Quote(want)},
			{"query-status", nil, `{"status": "prelaunch", "singlestep": false, "running": false}`},
		} {
			out, err := c.Execute(ctx, step.command, step.args)
			if err != nil {
				return commands, err
			}
			if commands++; string(out) != step.want {
				return commands, fmt.Errorf("%s of %s: got %.200s, not %s", step.command, id, out, step.want)
			}
		}
	}
	_, err = c.Execute(ctx, "object-del", map[string]string{"id": id})
	return commands, err
}
