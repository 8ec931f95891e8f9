//go:build linux

package libvirttest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/proc"
)

// inNetwork lets the tests have hosts.
type inNetwork struct{ m *testing.M }

func (n inNetwork) Run() int { return InNetwork(n.m.Run) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(inNetwork{m}) }

// startGuest starts a paused domain without disks.
func startGuest(t *testing.T, d *Daemon, name string) {
	t.Helper()
	_, err := d.Connect(t).DomainCreateXML(`<domain type='qemu'>
		<name>`+name+`</name><memory unit='MiB'>64</memory>
		<os><type arch='x86_64' machine='q35'>hvm</type></os>
	</domain>`, libvirt.DomainStartPaused)
	require.NoError(t, err)
}

func domains(t *testing.T, d *Daemon) []libvirt.Domain {
	t.Helper()
	all, _, err := d.Connect(t).ConnectListAllDomains(1, 0)
	require.NoError(t, err)
	return all
}

func TestStopLeavesNothing(t *testing.T) {
	d := Start(t)
	startGuest(t, d, "left")
	qemu := d.Process(t, "left")
	args, err := qemu.Args()
	require.NoError(t, err)
	require.Contains(t, args, "guest=left,debug-threads=on")

	require.NoError(t, d.Stop())
	require.False(t, proc.Alive(qemu.ID()))
	require.NoDirExists(t, string(d.tree))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), string(d.tree))
	require.NoError(t, d.Stop(), "again")
}

func TestGuestsEndWithLibvirtd(t *testing.T) {
	d := Start(t)
	startGuest(t, d, "left")
	qemu, libvirtd := d.Process(t, "left"), d.Libvirtd(t)
	args, err := libvirtd.Args()
	require.NoError(t, err)
	require.Contains(t, args, "--pid-file")
	require.NoError(t, libvirtd.Signal(unix.SIGKILL))
	require.NoError(t, qemu.Wait(within(t, 10*time.Second)))
}

func TestDaemonsDoNotMeet(t *testing.T) {
	var shared Shared
	defer func() { require.NoError(t, shared.Stop()) }()
	if _, err := exec.LookPath("virsh"); err != nil {
		check(t, missing("virsh is missing: "+installHint))
	}
	a, b := shared.Get(t), Start(t)
	require.Same(t, a, shared.Get(t))
	startGuest(t, a, "of-a")
	require.Len(t, domains(t, a), 1)
	require.Empty(t, domains(t, b))
	out, err := exec.Command("virsh", "-c", a.URI(), "list", "--name").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "of-a", strings.TrimSpace(string(out)))
}

func TestSharedThatNobodyGot(t *testing.T) {
	var shared Shared
	require.NoError(t, shared.Stop())
}

// A client that knows qemu:///system only is served by either daemon.
func TestDialMonitor(t *testing.T) {
	d := Start(t)
	conn, err := d.DialMonitor()
	require.NoError(t, err)
	defer conn.Close()
	l := newLibvirt(conn)
	require.NoError(t, l.Connect())
	uri, err := l.ConnectGetUri()
	require.NoError(t, err)
	require.Equal(t, string(d.Driver()), uri)
	require.NoError(t, l.Disconnect())
}

func TestDaemonThatDoesNotStart(t *testing.T) {
	dir, err := makeTree(os.Geteuid() == 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.remove()) }()
	d := &Daemon{tree: dir, driver: libvirt.QEMUSession, done: make(chan struct{})}
	require.NoError(t, d.launch("/bin/false"))
	start := time.Now()
	err = d.ready()
	require.Error(t, err)
	require.Less(t, time.Since(start), 30*time.Second)
	<-d.done
	require.ErrorContains(t, d.diagnose(err), "exit status 1")
	require.NoError(t, d.Stop())
}

// Root's daemon can't cover a host's folder with one that is missing, as little as where
// mounting is forbidden.
func TestHostThatCantBeCovered(t *testing.T) {
	if os.Geteuid() != 0 {
		return // other users mount nothing
	}
	Start(t) // or say that there can be no namespace
	dir, err := makeTree(true)
	require.NoError(t, err)
	require.NoError(t, os.Remove(string(dir)+"/var/cache"))
	d := &Daemon{tree: dir, driver: libvirt.QEMUSystem, done: make(chan struct{})}
	require.NoError(t, d.launch("/bin/false"))
	err = d.ready()
	require.Error(t, err)
	<-d.done
	var lacking missing
	require.ErrorAs(t, d.diagnose(err), &lacking)
	require.ErrorContains(t, lacking, "var/cache")
	require.NoError(t, d.Stop())
}

// outcome records what a test would come to.
type outcome struct {
	testing.TB
	said string
}

func (o *outcome) Helper()           {}
func (o *outcome) Skip(args ...any)  { o.said = "skip: " + fmt.Sprint(args...) }
func (o *outcome) Fatal(args ...any) { o.said = "fatal: " + fmt.Sprint(args...) }

func TestMissingIsSkippedUnlessRequired(t *testing.T) {
	lacking := fmt.Errorf("start: %w", missing("not here"))
	for _, tc := range []struct {
		require1 string
		err      error
		want     string
	}{
		{"", nil, ""},
		{"", lacking, "skip: start: not here"},
		{"1", lacking, "fatal: start: not here"},
		{"", errors.New("broken"), "fatal: broken"},
	} {
		t.Setenv("MAQET_REQUIRE", tc.require1)
		var o outcome
		check(&o, tc.err)
		require.Equal(t, tc.want, o.said)
	}
}

// childEnv makes this test's own child of the test binary.
const childEnv = "MAQET_LIBVIRTTEST_CHILD"

// TestKilledTestLeavesNothing kills a process that has a daemon with a guest.
func TestKilledTestLeavesNothing(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		liveUntilKilled(t)
	}
	Start(t) // or say why it can't
	child := exec.Command(os.Args[0], "-test.run=^TestKilledTestLeavesNothing$")
	child.Env = append(os.Environ(), childEnv+"=1")
	in, err := child.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	defer func() { _ = child.Wait() }()
	defer func() { _ = child.Process.Kill() }()

	lines := bufio.NewScanner(out)
	var tree string
	var processes []*proc.Handle
	for lines.Scan() && lines.Text() != "ready" {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "tree":
			tree = value
		case "pid":
			pid, err := strconv.Atoi(value)
			require.NoError(t, err)
			id, err := proc.Of(pid)
			require.NoError(t, err)
			h, err := proc.Open(id)
			require.NoError(t, err)
			defer func() { _ = h.Close() }()
			processes = append(processes, h)
		}
	}
	require.Len(t, processes, 2)
	require.DirExists(t, tree)
	require.NoError(t, child.Process.Kill())
	for _, h := range processes {
		require.NoError(t, h.Wait(within(t, 30*time.Second)))
	}
	require.NoDirExists(t, tree)
}

// liveUntilKilled tells its parent what it started, and waits to be killed, or for the
// parent's end.
func liveUntilKilled(t *testing.T) {
	d := Start(t)
	startGuest(t, d, "orphan")
	fmt.Println("tree", d.tree)
	fmt.Println("pid", d.cmd.Process.Pid)
	fmt.Println("pid", d.Process(t, "orphan").ID().PID)
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	t.FailNow()
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
