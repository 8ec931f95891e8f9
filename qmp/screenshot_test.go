package qmp

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// startMachine starts a QEMU with a PC that runs its firmware, and returns a manager of
// it, under the name web, and its control channel.
func startMachine(t testing.TB, args ...string) (*Manager, *Client) {
	t.Helper()
	conn, server := pair(t)
	file, err := server.conn.File()
	require.NoError(t, err)
	require.NoError(t, server.conn.Close())
	args = append([]string{"-M", "pc", "-accel", "tcg", "-m", "64", "-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control"}, args...)
	_, stderr := launchQEMU(t, []*os.File{file}, args...)
	c := NewClient()
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.Connect(within(t, 30*time.Second), conn), "%s", stderr)
	m := NewManager(oneVM{c})
	require.NoError(t, m.Resume(t.Context(), "web"))
	return m, c
}

// plainConn hides that a connection can pass files.
type plainConn struct{ Conn }

// firmwareText matches a screen on which the firmware has written something.
func firmwareText(img image.Image) bool {
	return img.Bounds().Dx() == 720 && lit(img) > 1000 // text mode
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

// qemusPNG returns a screenshot that QEMU has encoded.
func qemusPNG(t testing.TB, m *Manager) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "screen.png")
	_, err := m.Execute(AllowDangerous(t.Context()), "web", "screendump", map[string]string{"filename": path, "format": "png"})
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

// requireNoFiles checks that QEMU has no descriptor set and the host no folder of ours.
func requireNoFiles(t *testing.T, m *Manager) {
	t.Helper()
	sets, err := m.Execute(t.Context(), "web", "query-fdsets", nil)
	require.NoError(t, err)
	require.JSONEq(t, "[]", string(sets))
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestQEMUScreenshots(t *testing.T) {
	m, c := startMachine(t, "-device", "VGA,id=first", "-device", "secondary-vga,id=second,xres=320,yres=200,edid=on")
	t.Setenv("TMPDIR", t.TempDir()) // what is left there is ours
	ctx := within(t, time.Minute)
	_, err := m.WaitScreen(ctx, "web", firmwareText)
	require.NoError(t, err)
	before := openFiles(t)
	ways := map[string]struct {
		m      *Manager
		paused bool
	}{"descriptor": {m, false}, "paused": {m, true}, "file": {NewManager(oneVM{plainConn{c}}), false}}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			m := way.m
			if way.paused {
				require.NoError(t, m.Pause(ctx, "web"))
				defer func() { require.NoError(t, m.Resume(ctx, "web")) }()
			}
			shot, err := m.Screenshot(ctx, "web")
			require.NoError(t, err)
			require.True(t, firmwareText(shot))
			data, err := m.ScreenshotPNG(ctx, "web", ScreenshotOptions{Device: "first"})
			require.NoError(t, err)
			asPNG, err := png.Decode(bytes.NewReader(data))
			require.NoError(t, err)
			if way.paused {
				require.False(t, ScreenChanged(shot, 1)(asPNG), "the same pixels")
			}
			other, err := m.ScreenshotOf(ctx, "web", ScreenshotOptions{Device: "second"})
			require.NoError(t, err)
			require.True(t, ScreenChanged(shot, 1)(other))

			var refused *errors.QMPError
			_, err = m.ScreenshotOf(ctx, "web", ScreenshotOptions{Device: "none"})
			require.ErrorAs(t, err, &refused)
			_, err = m.ScreenshotPNG(ctx, "web", ScreenshotOptions{Device: "first", Head: 7})
			require.ErrorAs(t, err, &refused)
			requireNoFiles(t, m)
		})
	}
	require.Equal(t, before, openFiles(t))
	require.NoError(t, m.Pause(ctx, "web"))
	shot, err := m.Screenshot(ctx, "web")
	require.NoError(t, err)
	qemus, err := png.Decode(bytes.NewReader(qemusPNG(t, m)))
	require.NoError(t, err)
	require.False(t, ScreenChanged(qemus, 1)(shot), "every pixel is as in QEMU's own PNG")

	_, err = m.Execute(ctx, "web", "screendump", map[string]string{"filename": "x"})
	require.ErrorIs(t, err, errors.ErrQMPDenied, "the command with a file's name stays dangerous")
}

func TestQEMUWithoutADisplay(t *testing.T) {
	_, c := startQEMU(t)
	m := NewManager(oneVM{c})
	_, err := m.Screenshot(t.Context(), "web")
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	require.ErrorContains(t, err, "Display.Adapter")
	_, err = m.ScreenshotPNG(t.Context(), "web", ScreenshotOptions{})
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	img, err := m.WaitScreen(t.Context(), "web", nil)
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	require.Nil(t, img)
	_, err = m.Screenshot(t.Context(), "other")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
}

func TestQEMUWaitScreenEndsWithItsContext(t *testing.T) {
	m, _ := startMachine(t, "-device", "VGA")
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	defer cancel()
	var looks []image.Image
	img, err := m.WaitScreen(ctx, "web", func(now image.Image) bool {
		if looks = append(looks, now); len(looks) == 3 {
			cancel()
		}
		return false
	})
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, looks, 3)
	require.Same(t, looks[2], img, "the last one is returned all the same")
	_, err = m.WaitScreen(ctx, "web", nil)
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
}

// The descriptor that QEMU was given is taken back also when nobody waits any more.
func TestCancelledScreenshotLeavesNothing(t *testing.T) {
	c, server := connected(t)
	m := NewManager(oneVM{c})
	before := openFiles(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := m.Screenshot(ctx, "web")
		done <- err
	}()
	server.expect(`{"execute":"query-status"}`)
	server.send(`{"return": {"status": "running", "running": true}}`)
	request := func(command string) (set string) {
		line, err := server.in.ReadString('\n')
		require.NoError(t, err)
		match := regexp.MustCompile(`^\{"execute":"` + command + `","arguments":\{"fdset-id":(\d+)\}\}\n$`).FindStringSubmatch(line)
		require.NotNil(t, match, line)
		return match[1]
	}
	set := request("add-fd")
	cancel()
	require.Equal(t, set, request("remove-fd"))
	err := soon(t, done)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.Equal(t, before, openFiles(t))
}

// What a guest shows decides what QEMU writes, so that is checked.
func TestScreenshotThatIsNone(t *testing.T) {
	for _, content := range []string{"", "P6\n2 2\n255\nabc"} {
		m, _ := managed(t, func(request string) string {
			var in struct{ Arguments struct{ Filename string } }
			require.NoError(t, json.Unmarshal([]byte(request), &in))
			require.NoError(t, os.WriteFile(in.Arguments.Filename, []byte(content), 0o600))
			return `{"return": {}}`
		})
		m.find = oneVM{plainConn{m.find.(oneVM).conn}}
		img, err := m.Screenshot(t.Context(), "web")
		require.ErrorIs(t, err, errors.ErrQMP)
		require.ErrorContains(t, err, "PPM")
		require.Nil(t, img)
		_, err = m.ScreenshotPNG(t.Context(), "web", ScreenshotOptions{})
		require.ErrorIs(t, err, errors.ErrQMP)
	}
	_, err := NewManager(nil).readScreen("web", bigFile(t))
	require.ErrorIs(t, err, errors.ErrQMP)
}

// bigFile is larger than any screen, and empty on the disk.
func bigFile(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	require.NoError(t, file.Truncate(maxScreen+1))
	return file
}

func BenchmarkScreenshot(b *testing.B) {
	m, _ := startMachine(b, "-device", "VGA")
	_, err := m.WaitScreen(within(b, time.Minute), "web", firmwareText)
	require.NoError(b, err)
	b.Run("PPM decoded", func(b *testing.B) {
		for b.Loop() {
			_, err := m.Screenshot(b.Context(), "web")
			require.NoError(b, err)
		}
	})
	b.Run("PNG", func(b *testing.B) {
		for b.Loop() {
			_, err := m.ScreenshotPNG(b.Context(), "web", ScreenshotOptions{})
			require.NoError(b, err)
		}
	})
	b.Run("PNG by QEMU", func(b *testing.B) {
		for b.Loop() {
			qemusPNG(b, m)
		}
	})
	b.Run("PNG by QEMU, decoded", func(b *testing.B) {
		for b.Loop() {
			_, err := png.Decode(bytes.NewReader(qemusPNG(b, m)))
			require.NoError(b, err)
		}
	})
}
