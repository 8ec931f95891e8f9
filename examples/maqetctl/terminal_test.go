package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// screen is a terminal with maqetctl at it.
type screen struct {
	t    *testing.T
	keys *os.File // the person's end
	tty  *os.File // the program's
	proc *child
	seen buffer
	done chan struct{}
}

// atTerminal starts maqetctl at a terminal.
func (c tool) atTerminal(t *testing.T, args ...string) *screen {
	t.Helper()
	keys, tty, err := pty.Open()
	require.NoError(t, err)
	require.NoError(t, pty.Setsize(keys, &pty.Winsize{Rows: 24, Cols: 100}))
	s := &screen{t: t, keys: keys, tty: tty, proc: &child{t: t, cmd: c.command(args...)}, done: make(chan struct{})}
	cmd := s.proc.cmd
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	go func() {
		defer close(s.done)
		buf := make([]byte, 4096)
		for {
			n, err := keys.Read(buf)
			_, _ = s.seen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // a test that failed may have left it
		_ = cmd.Wait()
		_ = tty.Close()
		<-s.done
		_ = keys.Close()
	})
	return s
}

func (s *screen) shows(text string) {
	s.t.Helper()
	if !assertEventually(func() bool { return strings.Contains(s.seen.String(), text) }) {
		s.t.Fatalf("%q is not in %q", text, s.seen.String())
	}
}

func assertEventually(fn func() bool) bool {
	for end := time.Now().Add(toolTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if fn() {
			return true
		}
	}
	return false
}

func (s *screen) types(text string) {
	s.t.Helper()
	_, err := s.keys.WriteString(text)
	require.NoError(s.t, err)
}

func (s *screen) mode() unix.Termios {
	s.t.Helper()
	mode, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	require.NoError(s.t, err)
	return *mode
}

// terminal works at the console as a person does, and leaves it by the escape key, or by
// a signal: the terminal is as it was, each time.
func (c tool) terminal(t *testing.T) {
	for _, leave := range []struct {
		name string
		do   func(*screen)
		code int
	}{
		{"escape", func(s *screen) { s.types("\x1d") }, exitOK},
		{"signal", func(s *screen) { require.NoError(t, s.proc.cmd.Process.Signal(syscall.SIGTERM)) }, exitInterrupted},
	} {
		t.Run(leave.name, func(t *testing.T) {
			s := c.atTerminal(t, "console", "web")
			before := s.mode()
			s.shows("Ctrl-] leaves it")
			s.types("\recho at$((6*7))terminal\r")
			s.shows("at42terminal")
			require.NotEqual(t, before, s.mode())
			s.types("sh -c 'echo sl$((3+3))eeps; exec sleep 1000'\r")
			s.shows("sl6eeps")
			s.types("\x03") // is for the guest
			s.types("echo in$((1+1))terrupted\r")
			s.shows("in2terrupted")
			leave.do(s)
			require.Equal(t, leave.code, s.proc.wait().code)
			require.Equal(t, before, s.mode())
		})
	}
	// One at a time.
	s := c.atTerminal(t, "console", "web")
	s.shows("Ctrl-] leaves it")
	require.Contains(t, c.run("console", "web").failed(t, exitFailure), "somebody else uses it")
	s.types("\x1d")
	require.Equal(t, exitOK, s.proc.wait().code)
}

// unseen runs maqetctl with a terminal to read from, but none to ask at.
func (c tool) unseen(t *testing.T, args ...string) invoked {
	t.Helper()
	keys, tty, err := pty.Open()
	require.NoError(t, err)
	defer keys.Close()
	defer tty.Close()
	p := c.begin(tty, args...)
	timer := time.AfterFunc(10*time.Second, func() { _, _ = keys.WriteString("yes\r") }) // of a question
	defer timer.Stop()
	return p.wait()
}

func TestConfirm(t *testing.T) {
	c := tool{t, t.TempDir()}
	for _, answer := range []struct {
		keys string
		code int
	}{{"n\r", exitDenied}, {"\r", exitDenied}, {"\x04", exitDenied}, {"yes\r", exitOK}} {
		_ = c.run("add", "-n", "web")
		s := c.atTerminal(t, "rm", "web")
		s.shows("Remove web? [y/N]")
		s.types(answer.keys)
		require.Equal(t, answer.code, s.proc.wait().code, "%q", answer.keys)
	}
	require.Empty(t, c.run("ls", "-q").ok(t))
	_ = c.run("add", "-n", "web")
	unseen := c.unseen(t, "rm", "web")
	require.Contains(t, unseen.failed(t, exitDenied), "nobody can be asked")
	s := c.atTerminal(t, "rm", "web")
	s.shows("Remove web?")
	require.NoError(t, s.proc.cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, exitInterrupted, s.proc.wait().code)
	require.Equal(t, "web\n", c.run("ls", "-q").ok(t))
}
