package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/kernel"
)

// playTool is the environment variable that makes the test binary play maqetctl, as a
// process of its own: the same code as a built one, without the minute to build it.
const playTool = "MAQETCTL_TEST_PLAY"

// toolTime bounds an invocation that boots a guest; it only tells a hang from a slow
// machine.
const toolTime = 2 * time.Minute

// tool runs maqetctl processes on one folder.
type tool struct {
	t   *testing.T
	dir string
}

// child is a process that runs in the background.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	out buffer
	err buffer
}

// newTool returns a tool whose guests end with the test. Sockets need a short folder.
func newTool(t *testing.T) tool {
	t.Helper()
	needGuests(t)
	dir, err := os.MkdirTemp("", "mc-")
	require.NoError(t, err)
	c := tool{t, dir}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.run("ls"), c.run("logs", "web", "-n", "30"))
		}
		_ = c.run("rm", "--all", "--force", "--yes")
		require.NoError(t, os.RemoveAll(dir))
	})
	return c
}

// needGuests skips the test where no guest can be booted; MAQET_REQUIRE=1 makes that a
// failure.
func needGuests(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	if err == nil {
		_, err = kernel.Find(t.Context(), kernel.Options{})
	}
	if err == nil {
		return
	}
	if os.Getenv("MAQET_REQUIRE") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func (c tool) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), playTool+"=1", "MAQET_DIR="+c.dir)
	return cmd
}

// run runs maqetctl to its end.
func (c tool) run(args ...string) invoked { return c.runWith("", args...) }

// runWith is run with text on standard input.
func (c tool) runWith(stdin string, args ...string) invoked {
	c.t.Helper()
	p := c.begin(strings.NewReader(stdin), args...)
	return p.wait()
}

// begin starts maqetctl in the background.
func (c tool) begin(stdin io.Reader, args ...string) *child {
	c.t.Helper()
	p := &child{t: c.t, cmd: c.command(args...)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, &p.out, &p.err
	require.NoError(c.t, p.cmd.Start())
	return p
}

// wait waits until the process has ended.
func (p *child) wait() invoked {
	p.t.Helper()
	timer := time.AfterFunc(toolTime, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait() // the code says it
	return invoked{p.cmd.ProcessState.ExitCode(), p.out.String(), p.err.String()}
}

// interrupt is Ctrl-C.
func (p *child) interrupt() { require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGINT)) }

// said waits until the process has printed the text.
func (p *child) said(text string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return strings.Contains(p.out.String(), text) }, toolTime, 10*time.Millisecond, text)
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// requireNothingRuns fails if a QEMU of the folder is left.
func (c tool) requireNothingRuns() {
	c.t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(c.t, err)
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), c.dir) && strings.HasPrefix(filepath.Base(strings.Split(string(data), "\x00")[0]), "qemu-system") {
			c.t.Errorf("left: %s", strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
}

// requireNothingLeft fails if a file of a VM is left in the folder.
func (c tool) requireNothingLeft() {
	c.t.Helper()
	c.requireNothingRuns()
	var left []string
	require.NoError(c.t, filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		name := strings.TrimPrefix(path, c.dir+"/")
		if err == nil && !d.IsDir() && !strings.HasPrefix(name, "maqet.db") && !strings.HasPrefix(name, "locks/") {
			left = append(left, name)
		}
		return err
	}))
	require.Empty(c.t, left)
}
