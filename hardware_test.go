package maqet_test

import (
	"bytes"
	"context"
	"image"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/viewer"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// everyDriver boots a kernel with drivers for all of QEMU's devices.
func everyDriver(t *testing.T) vm.Boot {
	t.Helper()
	path := fullKernel(t)
	return vm.Boot{Kernel: path, Modules: filepath.Dir(filepath.Dir(path))}
}

const displayPassword = "hush-hsh"

// equipped is a guest with the devices that have fields of their own, and no console, so
// that only pvpanic can tell of a panic. It has no screen, with which it would take three
// times as long to boot: see TestKeyboardAndScreen.
func equipped(t *testing.T, dir string) vm.Config {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "password"), []byte(displayPassword+"\n"), 0o600))
	return vm.Config{
		Name: "equipped", Arch: "x86_64", Boot: everyDriver(t), Console: vm.Console{Disabled: true},
		RNG: &vm.RNG{MaxBytes: 64 << 10}, Balloon: &vm.Balloon{}, Watchdog: &vm.Watchdog{Action: vm.WatchdogPause},
		PVPanic: true, Tablet: true, GenerationID: vm.GenerationIDAuto,
		Display: vm.Display{Type: vm.DisplayVNC, Adapter: vm.AdapterNone, PasswordFile: filepath.Join(dir, "password")},
		Serials: []vm.Serial{{Name: "org.example.log", File: filepath.Join(dir, "log")}, {Name: "talk", Socket: vm.SerialSocketAuto},
			{Name: "modem", Type: vm.SerialISA, PTY: true}, {Name: "line", Type: vm.SerialISA, Socket: filepath.Join(dir, "line")}},
	}
}

// without holds in a guest that has neither the port of the log nor the tablet.
const without = "test ! -e /dev/virtio-ports/org.example.log && ! grep -q Tablet /proc/bus/input/devices"

// TestHardware works with one guest's devices, until two of them end it.
func TestHardware(t *testing.T) {
	home, dir := shortDir(t), shortDir(t)
	var log logBuffer
	m := open(t, home, maqet.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	g, err := m.Run(ctx, equipped(t, dir))
	require.NoError(t, err)
	t.Run("random numbers", func(t *testing.T) {
		eventually(t, g, "grep -q virtio_rng /sys/class/misc/hw_random/rng_current")
		require.Equal(t, "32\n", run(t, g, "head -c 32 /dev/hwrng | wc -c"))
	})
	t.Run("balloon", func(t *testing.T) { inflate(t, g) })
	t.Run("serial ports", func(t *testing.T) { talk(t, g, dir) })
	t.Run("tablet", func(t *testing.T) { pointTablet(t, g) })
	t.Run("VNC", func(t *testing.T) {
		socket := socketOf(t, g, vm.DisplayVNC)
		require.NoError(t, viewer.VNC(ctx, socket, displayPassword))
		require.ErrorIs(t, viewer.VNC(ctx, socket, "wrong"), viewer.ErrRefused)
	})
	t.Run("taken out", func(t *testing.T) {
		require.NoError(t, g.RemoveDevice(ctx, "org.example.log"))
		require.NoError(t, g.RemoveDevice(ctx, vm.DeviceTablet))
		eventually(t, g, without)
	})
	first := generationID(t, g)
	require.Equal(t, "vmgenid\n", run(t, g, "basename $(readlink /sys/bus/acpi/devices/QEMUVGID:00/driver)"), "the kernel knows it")
	t.Run("watchdog", func(t *testing.T) { hang(t, g) })
	t.Run("panic", func(t *testing.T) {
		if _, err := g.Exec(ctx, "sh", "-c", "echo c >/proc/sysrq-trigger &"); err != nil {
			require.ErrorIs(t, err, errors.ErrGuestPanic)
		}
		now, err := g.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, vm.Failed, now.State)
		require.Equal(t, vm.ReasonGuestPanic, now.Reason)
	})
	t.Run("again", func(t *testing.T) {
		require.NoError(t, g.Start(ctx))
		eventually(t, g, "test -e /dev/virtio-ports/talk")
		eventually(t, g, without)
		require.NotEqual(t, first, generationID(t, g))
		require.NoError(t, viewer.VNC(ctx, socketOf(t, g, vm.DisplayVNC), displayPassword))
		_, err := g.QMP(ctx, "set-action", map[string]string{"watchdog": "poweroff"})
		require.NoError(t, err)
		eventually(t, g, "test -c /dev/watchdog0")
		run(t, g, "watchdog -T 2 -t 60 -F /dev/watchdog0 >/dev/null 2>&1 &")
		now, err := g.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, vm.Failed, now.State)
		require.Equal(t, vm.ReasonWatchdog, now.Reason)
		require.True(t, now.Runtime.Exit.Known && now.Runtime.Exit.Code == 0, "%v", now.Runtime.Exit)
	})
	requireSecret(t, home, log.String())
}

// TestHardwareOnMicroVM: its devices are on other buses.
func TestHardwareOnMicroVM(t *testing.T) {
	m := open(t, shortDir(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	g, err := m.Run(ctx, vm.Config{Machine: "microvm", RNG: &vm.RNG{}, Balloon: &vm.Balloon{}, PVPanic: true, Console: vm.Console{Disabled: true},
		Serials: []vm.Serial{{Name: "talk", Socket: vm.SerialSocketAuto}}})
	require.NoError(t, err)
	eventually(t, g, "grep -q virtio_rng /sys/class/misc/hw_random/rng_current")
	eventually(t, g, "test -e /dev/virtio-ports/talk -a -d /sys/bus/virtio/drivers/virtio_balloon -a -d /sys/module/pvpanic_mmio")
	require.NoError(t, g.SetMemory(ctx, 224<<20))
	if _, err := g.Exec(ctx, "sh", "-c", "echo c >/proc/sysrq-trigger &"); err != nil {
		require.ErrorIs(t, err, errors.ErrGuestPanic)
	}
	now, err := g.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, vm.Failed, now.State)
	require.Equal(t, vm.ReasonGuestPanic, now.Reason)
}

func generationID(t *testing.T, g *maqet.Machine) string {
	t.Helper()
	out, err := g.QMP(t.Context(), "query-vm-generation-id", nil)
	require.NoError(t, err)
	return string(out)
}

func socketOf(t *testing.T, g *maqet.Machine, name string) string {
	t.Helper()
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	require.Contains(t, inst.Runtime.Sockets, name)
	return inst.Runtime.Sockets[name]
}

// inflate takes memory from the guest and gives it back.
func inflate(t *testing.T, g *maqet.Machine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const all, less = 256 << 20, 192 << 20
	total := func() string { return run(t, g, "sed -n 's/MemTotal: *//p' /proc/meminfo") }
	before := total()
	eventually(t, g, "test -d /sys/bus/virtio/drivers/virtio_balloon")
	begun := time.Now()
	require.NoError(t, g.SetMemory(ctx, less+100))
	t.Logf("64 MiB taken in %v", time.Since(begun))
	info, err := g.MemoryInfo(ctx)
	require.NoError(t, err)
	require.Equal(t, qmp.MemoryInfo{Base: all, Guest: less, Balloon: true}, info)
	require.NotEqual(t, before, total())
	require.NoError(t, g.SetMemory(ctx, all))
	require.Equal(t, before, total())
	for _, size := range []int64{0, -1, 4095, all + 4096} {
		var bad *errors.ConfigError
		require.ErrorAs(t, g.SetMemory(ctx, size), &bad, size)
	}
}

// talk sends and receives on each serial port.
func talk(t *testing.T, g *maqet.Machine, dir string) {
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	eventually(t, g, "test -e /dev/virtio-ports/org.example.log")
	run(t, g, "echo to a file >/dev/virtio-ports/org.example.log")
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(filepath.Join(dir, "log"))
		return err == nil && string(data) == "to a file\n"
	}, 20*time.Second, 20*time.Millisecond)

	terminal, err := os.OpenFile(inst.Runtime.Terminals["modem"], os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	raw(t, terminal)
	for device, conn := range map[string]io.ReadWriteCloser{
		"/dev/virtio-ports/talk": dial(t, inst.Runtime.Sockets["talk"]),
		"/dev/ttyS1":             terminal,
		"/dev/ttyS2":             dial(t, filepath.Join(dir, "line")),
	} {
		run(t, g, "test ! -e /dev/ttyS2 || for t in 1 2; do stty -F /dev/ttyS$t raw -echo; done")
		run(t, g, "rm -f /tmp/up; (exec 3<>"+device+"; echo >/tmp/up; head -c 5 <&3 >/tmp/heard; echo answer >&3) >/dev/null 2>&1 &")
		require.NoError(t, g.WaitFor(t.Context(), guest.FileExists("/tmp/up")))
		_, err := conn.Write([]byte("hello"))
		require.NoError(t, err)
		got := make([]byte, len("answer"))
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err, device)
		require.Equal(t, "answer", string(got), device)
		require.Equal(t, "hello", run(t, g, "cat /tmp/heard"), device)
		require.NoError(t, conn.Close())
	}
}

func dial(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

// raw makes a terminal pass on every byte as it is.
func raw(t *testing.T, f *os.File) {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	require.NoError(t, err)
	state.Iflag, state.Oflag, state.Lflag = 0, 0, 0
	require.NoError(t, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, state))
}

// pointTablet reads the guest's events of the USB tablet while it is used.
func pointTablet(t *testing.T, g *maqet.Machine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	eventually(t, g, "grep -q 'QEMU USB Tablet' /proc/bus/input/devices")
	device := strings.TrimSpace(run(t, g, "grep -A5 'QEMU USB Tablet' /proc/bus/input/devices | grep -o 'event[0-9]*'"))
	require.NoError(t, g.WaitFor(ctx, guest.FileExists("/dev/input/"+device)))
	run(t, g, "(exec cat /dev/input/"+device+" >/tmp/mouse) 2>/dev/null &")
	require.NoError(t, g.WaitFor(ctx, runs("[c]at /dev/input/")))
	u := g.Mouse(qmp.MouseOptions{Screen: image.Rect(0, 0, 720, 400)})
	require.NoError(t, u.Move(ctx, image.Pt(360, 100)))
	require.NoError(t, u.Scroll(ctx, 0, 1))
	require.NoError(t, u.DoubleClick(ctx, qmp.ButtonRight))
	var got []string
	require.Eventually(t, func() bool {
		data, err := g.ReadFile(ctx, "/tmp/mouse")
		require.NoError(t, err)
		got = inputEvents(data)
		return len(got) == 8
	}, 20*time.Second, 50*time.Millisecond, "%v", &got)
	require.Equal(t, []string{ // Linux, include/uapi/linux/input-event-codes.h
		"abs 0 16406", "abs 1 8232", "rel 8 -1", "rel 11 -120", "key 273 1", "key 273 0", "key 273 1", "key 273 0",
	}, got)
}

// hang lets the watchdog expire, whose action is to pause the guest.
func hang(t *testing.T, g *maqet.Machine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events, err := g.Events(ctx, "WATCHDOG")
	require.NoError(t, err)
	eventually(t, g, "test -c /dev/watchdog0")
	run(t, g, "watchdog -T 2 -t 60 -F /dev/watchdog0 >/dev/null 2>&1 &")
	require.JSONEq(t, `{"action":"pause"}`, string((<-events).Data))
	now, err := g.Wait(ctx, vm.Paused)
	require.NoError(t, err)
	require.Equal(t, vm.ReasonWatchdog, now.Reason)
	require.NoError(t, g.Resume(ctx))
	_, err = g.Wait(ctx, vm.Running)
	require.NoError(t, err)
	require.NoError(t, g.Pause(ctx))
	now, err = g.Wait(ctx, vm.Paused)
	require.NoError(t, err)
	require.Equal(t, vm.ReasonPaused, now.Reason)
	require.NoError(t, g.Resume(ctx))
}

// requireSecret checks that the display's password is in no log, record or other file.
func requireSecret(t *testing.T, dir, log string) {
	t.Helper()
	require.NotContains(t, log, displayPassword)
	require.Contains(t, log, "vnc.sock", "there is a log")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		require.NotContains(t, string(data), displayPassword, path)
		return err
	})
	require.NoError(t, err)
}

// logBuffer keeps a log in memory.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
