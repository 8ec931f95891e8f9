//go:build linux

package guest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// bootDefaultGuest starts the default guest on plain QEMU. Its QMP events and its
// record are v's, so that this package can be tested below the backends.
func bootDefaultGuest(t *testing.T, devices ...string) *fakeVM {
	t.Helper()
	return defaultGuest(t, nil, devices...)
}

// defaultGuest starts a guest that boots, or one that continues from a saved state.
func defaultGuest(t *testing.T, state *os.File, devices ...string) *fakeVM {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		testhost.Lacks(t, "qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
	}
	files, err := guest.NewBooter(guest.BooterOptions{}).ResolveBoot(t.Context(), vm.Config{})
	if err != nil {
		testhost.Lacks(t, err)
	}
	v := newFakeVM(t)
	dir := t.TempDir()
	v.dir = dir
	args := []string{
		"-M", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-cpu", "max", "-m", "512",
		"-kernel", files.Kernel, "-initrd", files.Initrd, "-append", "console=ttyS0 " + strings.Join(files.Cmdline, " "),
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=con,path=" + dir + "/console,server=on,wait=off,logfile=" + v.inst.Runtime.Console,
		"-serial", "chardev:con",
	}
	v.channel(vm.ChannelConsole, dialUnix(dir+"/console"))
	// In an order, so that a saved state fits.
	for _, names := range [][2]string{
		{vm.ChannelStream0, "org.maqet.stream.0"}, {vm.ChannelStream1, "org.maqet.stream.1"}, {vm.ChannelAgent, "org.qemu.guest_agent.0"},
	} {
		channel, port := names[0], names[1]
		path := filepath.Join(dir, channel)
		args = append(args, "-chardev", "socket,id="+channel+",path="+path+",server=on,wait=off",
			"-device", "virtserialport,chardev="+channel+",name="+port)
		v.channel(channel, dialUnix(path))
	}
	args = append(args, "-qmp", "unix:"+filepath.Join(dir, "qmp")+",server=on,wait=off")
	args = append(args, devices...)
	if state != nil {
		args = append(args, "-incoming", "fd:3")
	}
	// QEMU dies with this thread, also when the test binary is killed.
	runtime.LockOSThread()
	cmd := exec.Command(qemu, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if state != nil {
		cmd.ExtraFiles = []*os.File{state}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("QEMU: %s", &stderr)
		}
	})
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, vm.ChannelAgent))
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	return v
}

func dialUnix(path string) dialer {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) }
}

// TestIntegrationGuest works in a real guest by both ways.
func TestIntegrationGuest(t *testing.T) {
	v := bootDefaultGuest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	stream := v.manager(t)
	res, err := stream.Exec(ctx, "box", guest.Command{Args: []string{"uname", "-s"}}) // blocks until it has booted
	require.NoError(t, err)
	require.Equal(t, "Linux\n", string(res.Stdout))

	agentOnly := newFakeVM(t)
	agentOnly.channel(vm.ChannelAgent, v.channels[vm.ChannelAgent])
	for name, m := range map[string]*guest.Manager{"stream": stream, "agent": agentOnly.manager(t)} {
		t.Run(name, func(t *testing.T) {
			t.Run("commands", func(t *testing.T) { integrationCommands(t, m) })
			t.Run("files", func(t *testing.T) { integrationFiles(t, m) })
			t.Run("trees", func(t *testing.T) { integrationTrees(t, m) })
		})
	}
	t.Run("large tree", func(t *testing.T) { integrationLargeTree(t, stream) })
	t.Run("console", func(t *testing.T) {
		require.NoError(t, stream.Wait(soon(t), "box", guest.AgentReady(), guest.ConsoleText("maqet-init: ready")))
		c, err := stream.Console("box")
		require.NoError(t, err)
		require.NoError(t, c.Send(soon(t), "nobody reads this\n"))
	})
	t.Run("info", func(t *testing.T) {
		info, err := stream.Info(soon(t), "box")
		require.NoError(t, err)
		require.NotEmpty(t, info.Kernel)
		require.Contains(t, info.Commands, "guest-exec")
		require.NoError(t, stream.Reseed(soon(t), "box"))
		require.NoError(t, stream.SetTime(soon(t), "box", time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)))
		res, err := stream.Exec(soon(t), "box", guest.Command{Args: []string{"date", "-u", "+%Y-%m-%d"}})
		require.NoError(t, err)
		require.Equal(t, "2030-01-02\n", string(res.Stdout))
	})
}

func integrationCommands(t *testing.T, m *guest.Manager) {
	res, err := m.Exec(soon(t), "box", guest.Command{
		Args: []string{"sh", "-c", "cat; pwd; echo $X; echo err >&2; exit 3"}, Dir: "/tmp", Env: []string{"X=y z"},
		Stdin: strings.NewReader("in\n"),
	})
	require.ErrorIs(t, err, errors.ErrCommandFailed)
	require.Equal(t, 3, res.ExitCode)
	require.Equal(t, "in\n/tmp\ny z\n", string(res.Stdout))
	require.Equal(t, "err\n", string(res.Stderr))

	_, err = m.Exec(soon(t), "box", guest.Command{Args: []string{"no-such-program"}})
	require.ErrorIs(t, err, os.ErrNotExist)

	ctx, cancel := context.WithTimeout(soon(t), 300*time.Millisecond)
	defer cancel()
	_, err = m.Exec(ctx, "box", guest.Command{Args: []string{"sleep", "7654"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, m.Wait(soon(t), "box", guest.CommandSucceeds("sh", "-c", "! pidof sleep")), "the process was killed")
}

func integrationFiles(t *testing.T, m *guest.Manager) {
	data := make([]byte, 1<<20)
	rand.Read(data)
	require.NoError(t, m.WriteFile(soon(t), "box", "/tmp/data", data, 0o640))
	got, err := m.ReadFile(soon(t), "box", "/tmp/data")
	require.NoError(t, err)
	require.Equal(t, data, got)
	_, err = m.ReadFile(soon(t), "box", "/tmp/not")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = m.ReadFile(soon(t), "box", "/proc/uptime")
	require.NoError(t, err)
}

func integrationTrees(t *testing.T, m *guest.Manager) {
	tree, back := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "back")
	want := makeTree(t, tree)
	require.NoError(t, m.CopyTo(soon(t), "box", tree, "/tmp"))
	require.NoError(t, m.CopyFrom(soon(t), "box", "/tmp/tree", back))
	require.Equal(t, want, describe(t, back))
	_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"rm", "-r", "/tmp/tree"}})
	require.NoError(t, err)
}

// integrationLargeTree copies 120 MB there and back.
func integrationLargeTree(t *testing.T, m *guest.Manager) {
	tree, back := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "back")
	require.NoError(t, os.Mkdir(tree, 0o755))
	data := make([]byte, 30<<20)
	rand.Read(data)
	for _, name := range []string{"a", "b", "c", "d"} {
		require.NoError(t, os.WriteFile(filepath.Join(tree, name), data, 0o600))
	}
	start := time.Now()
	require.NoError(t, m.CopyTo(t.Context(), "box", tree, "/tmp/large"))
	to := time.Since(start)
	start = time.Now()
	require.NoError(t, m.CopyFrom(t.Context(), "box", "/tmp/large", back))
	t.Logf("120 MiB: %s to the guest, %s back", to, time.Since(start))
	for _, name := range []string{"a", "b", "c", "d"} {
		got, err := os.ReadFile(filepath.Join(back, name))
		require.NoError(t, err)
		require.True(t, string(got) == string(data), "content of %s", name)
	}
	_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"rm", "-r", "/tmp/large"}})
	require.NoError(t, err)
}
