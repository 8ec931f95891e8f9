package maqet_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// screenGuest is a guest with a screen that shows a shell, and a tablet.
var screenGuest = vm.Config{
	Display: vm.Display{Adapter: vm.AdapterStd},
	Devices: []vm.Device{{Driver: "virtio-tablet-pci"}},
	Boot:    vm.Boot{Cmdline: "console=tty0 console=ttyS0"},
}

// TestKeyboardAndScreen types and looks at one guest in every way there is.
func TestKeyboardAndScreen(t *testing.T) {
	m := open(t, shortDir(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	g, err := m.Run(ctx, screenGuest)
	require.NoError(t, err)
	t.Run("shell on the screen", func(t *testing.T) { typeAtShell(t, g) })
	t.Run("mouse", func(t *testing.T) { moveMouse(t, g) })

	// From here on a program reads another console, each byte as it comes.
	run(t, g, "echo > /tmp/typed; (exec </dev/tty2; stty raw -echo; echo ready >&2; exec cat >>/tmp/typed) 2>/tmp/reader &")
	require.NoError(t, g.WaitFor(ctx, guest.CommandSucceeds("grep", "-q", "ready", "/tmp/reader")))
	require.NoError(t, g.SendKeys(ctx, "ctrl-alt-f2"))
	require.NoError(t, g.WaitFor(ctx, guest.CommandSucceeds("grep", "-q", "tty2", "/sys/class/tty/tty0/active")))
	t.Run("all characters", func(t *testing.T) {
		text := "\t\n\b\x1b"
		for c := ' '; c <= '~'; c++ {
			text += string(c)
		}
		require.NoError(t, g.Type(t.Context(), text))
		requireTyped(t, g, strings.ReplaceAll(strings.ReplaceAll(text, "\n", "\r"), "\b", "\x7f"))
	})
	t.Run("chords", func(t *testing.T) {
		require.NoError(t, g.SendKeys(t.Context(), "ctrl-c", "ctrl", "d", "x", "alt-x", "up", "kp_5"))
		requireTyped(t, g, "\x03\x04x\x1bx\x1b[A\x1b[G")
	})
	t.Run("hold", func(t *testing.T) {
		k := g.Keyboard(qmp.KeyboardOptions{Hold: 30 * time.Millisecond})
		require.NoError(t, k.Send(t.Context(), "shift-a", "b"))
		require.NoError(t, k.Down(t.Context(), "shift"))
		require.NoError(t, k.Type(t.Context(), "c"))
		require.NoError(t, k.Up(t.Context(), "shift"))
		require.NoError(t, k.Type(t.Context(), "d"))
		requireTyped(t, g, "AbCd")
	})
	t.Run("busy host", func(t *testing.T) {
		for range 2 { // as many as the cores of a small machine
			busy := exec.Command("sh", "-c", "while :; do :; done")
			require.NoError(t, busy.Start())
			defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
		}
		text := strings.Repeat("the quick brown fox; ", 10)[:200]
		require.NoError(t, g.Type(t.Context(), text))
		requireTyped(t, g, text)
	})
}

// run runs a shell command in the guest and returns its output.
func run(t *testing.T, g *maqet.Machine, command string) string {
	t.Helper()
	res, err := g.Exec(t.Context(), "sh", "-c", command)
	require.NoError(t, err, "%s", command)
	return string(res.Stdout)
}

// requireTyped checks what the guest has read since the last call.
func requireTyped(t *testing.T, g *maqet.Machine, want string) {
	t.Helper()
	var got string
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		res, err := g.Exec(t.Context(), "tail", "-c", "+2", "/tmp/typed")
		require.NoError(c, err)
		got = string(res.Stdout)
		require.Equal(c, want, got)
	}, 20*time.Second, 100*time.Millisecond)
	run(t, g, "echo > /tmp/typed")
}

// runs is the condition that a process has the pattern in its command line.
func runs(pattern string) guest.Condition {
	return guest.CommandSucceeds("sh", "-c", "ps | grep -q '"+pattern+"'")
}

// typeAtShell types a command at the shell on the screen, and sees what it does.
func typeAtShell(t *testing.T, g *maqet.Machine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	prompt, err := g.WaitScreen(ctx, func(now image.Image) bool { return lit(now) > 100 && shellAt(t, g, "tty0") })
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 720, 400), prompt.Bounds(), "the text mode")
	require.NoError(t, g.Type(ctx, "clear; echo $((6 * 7)) > /tmp/answer; seq 1 20\n"))
	changed := qmp.ScreenChanged(prompt, 400)
	_, err = g.WaitScreen(ctx, func(now image.Image) bool { return changed(now) && lit(now) > 0 }) // not just cleared
	require.NoError(t, err)
	require.NoError(t, g.WaitFor(ctx, guest.FileExists("/tmp/answer")))
	answer, err := g.ReadFile(ctx, "/tmp/answer")
	require.NoError(t, err)
	require.Equal(t, "42\n", string(answer))

	require.NoError(t, g.Type(ctx, "sleep 1234\n"))
	require.NoError(t, g.WaitFor(ctx, runs("[s]leep 1234")))
	require.NoError(t, g.SendKeys(ctx, "ctrl-c"))
	require.Eventually(t, func() bool {
		return !strings.Contains(run(t, g, "ps"), "sleep 1234")
	}, 20*time.Second, 50*time.Millisecond)
}

// shellAt reports whether a shell has the terminal.
func shellAt(t *testing.T, g *maqet.Machine, tty string) bool {
	_, err := g.Exec(t.Context(), "sh", "-c", "ls -l /proc/[0-9]*/fd/0 | grep -q "+tty)
	return err == nil
}

// moveMouse reads the guest's events of the tablet while it is used.
func moveMouse(t *testing.T, g *maqet.Machine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	device := strings.TrimSpace(run(t, g, "grep -A5 'QEMU Virtio Tablet' /proc/bus/input/devices | grep -o 'event[0-9]*'"))
	run(t, g, fmt.Sprintf("(exec cat /dev/input/%s >/tmp/mouse) 2>/dev/null &", device))
	require.NoError(t, g.WaitFor(ctx, runs("[c]at /dev/input/")))
	u := g.Mouse(qmp.MouseOptions{})
	require.NoError(t, u.Move(ctx, image.Pt(360, 100)))
	require.NoError(t, u.Click(ctx, qmp.ButtonRight))
	require.NoError(t, u.Scroll(ctx, 0, 1))
	require.NoError(t, u.Drag(ctx, qmp.ButtonLeft, image.Pt(0, 0), image.Pt(719, 399)))
	var got []string
	require.Eventually(t, func() bool {
		data, err := g.ReadFile(ctx, "/tmp/mouse")
		require.NoError(t, err)
		got = inputEvents(data)
		return len(got) > 0 && got[len(got)-1] == "key 272 0"
	}, 20*time.Second, 50*time.Millisecond, "%v", &got)
	require.Equal(t, []string{ // Linux, include/uapi/linux/input-event-codes.h
		"abs 0 16406", "abs 1 8232", "key 273 1", "key 273 0", "rel 8 -1",
		"abs 0 22", "abs 1 40", "key 272 1", "abs 0 16360", "abs 1 16342", "abs 0 32744", "abs 1 32726", "key 272 0",
	}, got)
}

// inputEvents reads Linux's struct input_event of 64-bit machines; synchronisations are
// left out.
func inputEvents(data []byte) (out []string) {
	for ; len(data) >= 24; data = data[24:] {
		kind, ok := map[uint16]string{1: "key", 2: "rel", 3: "abs"}[binary.LittleEndian.Uint16(data[16:])]
		if ok {
			out = append(out, fmt.Sprintf("%s %d %d", kind, binary.LittleEndian.Uint16(data[18:]), int32(binary.LittleEndian.Uint32(data[20:]))))
		}
	}
	return out
}

// lit counts the pixels that are not black.
func lit(img image.Image) (n int) {
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if r, g, b, _ := img.At(x, y).RGBA(); r|g|b != 0 {
				n++
			}
		}
	}
	return n
}
