package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/maqet/maqet/guest/initramfs"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/stretchr/testify/require"
)

// machine is a real guest with this package as its init.
type machine struct {
	t       *testing.T
	dir     string
	cmd     *exec.Cmd
	monitor net.Conn
	exited  chan struct{}
}

// boot starts a guest; the test's end kills it.
func boot(t *testing.T) *machine {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	testhost.Needs(t, "QEMU", err)
	cache, err := kernel.DefaultCacheDir()
	require.NoError(t, err)
	k, err := kernel.Find(t.Context(), kernel.Options{CacheDir: cache})
	testhost.Needs(t, "a kernel", err)
	image, err := k.Vmlinux(t.Context())
	require.NoError(t, err)
	dir := t.TempDir()
	program := filepath.Join(dir, "init")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	initrd, err := initramfs.Builder{Init: program, Modules: k.Modules, CacheDir: dir}.Build(t.Context())
	require.NoError(t, err)

	m := &machine{t: t, dir: dir, exited: make(chan struct{})}
	monitors, err := net.Listen("unix", filepath.Join(dir, "monitor"))
	require.NoError(t, err)
	defer monitors.Close()
	m.cmd = exec.Command(qemu, "-M", "q35", "-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-serial", "file:"+filepath.Join(dir, "console"),
		"-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 maqet.hostname=tested",
		"-chardev", "socket,id=mon,path="+filepath.Join(dir, "monitor"), "-mon", "mon,mode=readline",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=s,server=on,wait=off,path="+filepath.Join(dir, "stream"),
		"-device", "virtserialport,chardev=s,name=org.maqet.stream.0",
		"-chardev", "socket,id=a,server=on,wait=off,path="+filepath.Join(dir, "agent"),
		"-device", "virtserialport,chardev=a,name="+agentPort)
	var stderr bytes.Buffer
	m.cmd.Stderr = &stderr
	require.NoError(t, m.cmd.Start())
	go func() {
		m.cmd.Wait()
		close(m.exited)
	}()
	t.Cleanup(func() {
		m.cmd.Process.Kill()
		<-m.exited
		if t.Failed() {
			console, _ := os.ReadFile(filepath.Join(dir, "console"))
			t.Logf("QEMU: %s\nconsole: %s", stderr.String(), console)
		}
	})
	m.monitor, err = monitors.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { m.monitor.Close() })
	return m
}

// dial connects to one of the guest's ports.
func (m *machine) dial(name string) net.Conn {
	m.t.Helper()
	conn, err := net.Dial("unix", filepath.Join(m.dir, name))
	require.NoError(m.t, err)
	m.t.Cleanup(func() { conn.Close() })
	return conn
}

// connect starts a session.
func (m *machine) connect() *wire.Session {
	m.t.Helper()
	// The monitor answers only once QEMU has made the sockets.
	_, err := bufio.NewReader(m.monitor).ReadString(')')
	require.NoError(m.t, err)
	return m.session()
}

func (m *machine) session() *wire.Session {
	m.t.Helper()
	s, err := wire.Connect(within(m.t, time.Minute), m.dial("stream"))
	require.NoError(m.t, err)
	return s
}

func (m *machine) waitExit() {
	m.t.Helper()
	select {
	case <-m.exited:
	case <-time.After(20 * time.Second):
		m.t.Fatal("the guest does not power off")
	}
}

func TestIntegrationWorkAndPowerButton(t *testing.T) {
	m := boot(t)
	s := m.connect()
	out, res := shell(t, s, "hostname; cat /proc/1/comm; cat /sys/class/net/lo/operstate; test -c /dev/pts/ptmx && echo pty")
	require.Equal(t, wire.ExecResult{}, res)
	require.Equal(t, []string{"tested", "init", "unknown", "pty"}, strings.Fields(out))

	// A host that dies takes its commands with it; the next one finds all in order.
	running := make(chan struct{})
	go s.Exec(context.Background(), wire.ExecRequest{
		Args:   []string{"sh", "-c", "echo on; exec sleep 1000"},
		Stdout: writerFunc(func(p []byte) (int, error) { close(running); return len(p), nil }),
	})
	<-running
	s.Close()
	s = m.session()
	require.Eventually(t, func() bool {
		_, res := shell(t, s, "pidof sleep")
		return res.ExitCode == 1
	}, 10*time.Second, 20*time.Millisecond)

	// The shell comes last of what comes late, the power button's driver among it.
	require.Eventually(t, func() bool {
		console, err := os.ReadFile(filepath.Join(m.dir, "console"))
		require.NoError(t, err)
		return bytes.Contains(console, []byte("/ # "))
	}, time.Minute, 20*time.Millisecond)
	require.LessOrEqual(t, m.idleCPU(2*time.Second), 0.5, "share of a core")
	pressed := time.Now()
	fmt.Fprintln(m.monitor, "system_powerdown")
	m.waitExit()
	require.Less(t, time.Since(pressed), killGrace, "nothing that runs has to be killed")
}

func TestIntegrationAgentShutdown(t *testing.T) {
	m := boot(t)
	m.connect().Close()
	conn := m.dial("agent")
	_, err := conn.Write([]byte("\xff" + `{"execute":"guest-sync-delimited","arguments":{"id":1}}` + "\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "\xff{\"return\":1}\n", line)
	_, err = conn.Write([]byte(`{"execute":"guest-shutdown"}`))
	require.NoError(t, err)
	m.waitExit()
	console, err := os.ReadFile(filepath.Join(m.dir, "console"))
	require.NoError(t, err)
	require.Contains(t, string(console), "maqet-init: ready")
}

// idleCPU is the share of a core that QEMU uses while nothing is asked of the
// guest. Reading without end, the fault to be found, takes a whole one.
func (m *machine) idleCPU(d time.Duration) float64 {
	m.t.Helper()
	before := m.cpuTime()
	time.Sleep(d)
	return float64(m.cpuTime()-before) / float64(d)
}

func (m *machine) cpuTime() time.Duration {
	m.t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(m.cmd.Process.Pid) + "/stat")
	require.NoError(m.t, err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	ticks := 0
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		require.NoError(m.t, err)
		ticks += n
	}
	return time.Duration(ticks) * tick
}
