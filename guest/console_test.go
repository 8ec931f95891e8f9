package guest_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

func (v *fakeVM) prints(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(v.inst.Runtime.Console, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestConsoleExpect(t *testing.T) {
	v := newFakeVM(t)
	c, err := v.manager(t).Console("box")
	require.NoError(t, err)
	v.prints(t, "boot 1 boot 2\r\n")
	for _, want := range []string{"1", "2"} {
		match, err := c.Expect(soon(t), regexp.MustCompile(`boot (\d)(x)?`))
		require.NoError(t, err)
		require.Equal(t, []string{"boot " + want, want, ""}, match.Groups)
	}
	time.AfterFunc(50*time.Millisecond, func() { v.prints(t, "log"); v.prints(t, "in: ") })
	match, err := c.ExpectText(soon(t), "login: ")
	require.NoError(t, err)
	require.Equal(t, guest.Match{Text: "login: ", Groups: []string{"login: "}, Before: "\r\n"}, match)

	ctx, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
	defer cancel()
	_, err = c.ExpectText(ctx, "login: ")
	require.ErrorIs(t, err, context.DeadlineExceeded, "the position is behind the match")
	text, err := c.Text(soon(t))
	require.NoError(t, err)
	require.Equal(t, "boot 1 boot 2\r\nlogin: ", text)
}

// TestConsoleExpectInMuch: text far behind the position, after more than the window.
func TestConsoleExpectInMuch(t *testing.T) {
	v := newFakeVM(t)
	c, err := v.manager(t).Console("box")
	require.NoError(t, err)
	v.prints(t, strings.Repeat("noise\n", 100_000)+"signal\nafter\n")
	_, err = c.ExpectText(soon(t), "signal")
	require.NoError(t, err)
	match, err := c.Expect(soon(t), regexp.MustCompile("(?m)^after$"))
	require.NoError(t, err)
	require.Equal(t, "\n", match.Before)
}

func TestConsoleOfAGuestThatEnds(t *testing.T) {
	v := newFakeVM(t)
	m := v.manager(t)
	c, err := m.Console("box")
	require.NoError(t, err)
	all, err := c.Follow(soon(t))
	require.NoError(t, err)
	defer all.Close()
	cause := &errors.GuestError{Kind: errors.ErrGuestPanic, VM: "box"}
	time.AfterFunc(50*time.Millisecond, func() { v.prints(t, "last words"); v.die(cause) })
	_, err = c.ExpectText(soon(t), "never printed")
	require.ErrorIs(t, err, errors.ErrGuestPanic)
	_, err = c.ExpectText(soon(t), "last words")
	require.NoError(t, err, "also after the end")
	_, err = c.ExpectText(soon(t), "more")
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
	text, err := io.ReadAll(all)
	require.NoError(t, err)
	require.Equal(t, "last words", string(text))
}

func TestConsoleSend(t *testing.T) {
	v := newFakeVM(t)
	got := make(chan string, 1)
	withPeer(t, v, vm.ChannelConsole, func(c net.Conn) {
		// As a guest that prints much while it is typed to: it must be read.
		_, _ = io.WriteString(c, strings.Repeat("x", 1<<20))
		text, _ := io.ReadAll(c)
		got <- string(text)
		_ = c.Close()
	})
	c, err := v.manager(t).Console("box")
	require.NoError(t, err)
	require.NoError(t, c.Send(soon(t), "root\n"))
	require.Equal(t, "root\n", <-got)
}

func TestConsoleSendToADeafGuest(t *testing.T) {
	v := newFakeVM(t)
	withPeer(t, v, vm.ChannelConsole, func(net.Conn) {}) // stays open, unread
	c, err := v.manager(t).Console("box")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	err = within(t, 2*time.Second, func() error { return c.Send(ctx, strings.Repeat("x", 8<<20)) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestConsoleRefusals(t *testing.T) {
	v := newFakeVM(t)
	v.inst.Runtime.Console = ""
	m := v.manager(t)
	_, err := m.Console("nobody")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	c, err := m.Console("box")
	require.NoError(t, err)
	_, err = c.Text(soon(t))
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
	v.inst.Config.Console.Disabled = true
	_, err = c.Follow(soon(t))
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
}

func TestConditionsThatHold(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		file := filepath.Join(t.TempDir(), "flag")
		l, err := net.Listen("tcp", ":0")
		require.NoError(t, err)
		defer l.Close()
		time.AfterFunc(100*time.Millisecond, func() {
			v.prints(t, "login:")
			_ = os.WriteFile(file, nil, 0o600)
			v.monitor.events <- goqemu.Event{Event: "NIC_RX_FILTER_CHANGED"}
		})
		require.NoError(t, m.Wait(soon(t), "box",
			guest.AgentReady(),
			guest.ConsoleText("login:"),
			guest.ConsoleMatch(regexp.MustCompile("log.n")),
			guest.All(guest.FileExists(file), guest.CommandSucceeds("test", "-f", file)),
			guest.PortOpen(l.Addr().(*net.TCPAddr).Port),
			guest.QMPEvent("NIC_RX_FILTER_CHANGED"),
			guest.Any(guest.FileExists("/no/such/file"), guest.FileExists(file)),
		))
	})
}

func TestConditionsThatDoNot(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		ctx, cancel := context.WithTimeout(soon(t), 150*time.Millisecond)
		defer cancel()
		err := within(t, 2*time.Second, func() error {
			return m.Until(guest.All(guest.AgentReady(), guest.CommandSucceeds("false")), guest.ConsoleText("never")).Wait(ctx, "box")
		})
		require.ErrorIs(t, err, errors.ErrWaitTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Contains(t, err.Error(), `command ["false"] succeeds`)
		require.Contains(t, err.Error(), `console prints "never"`)
		require.NotContains(t, err.Error(), "agent answers")

		err = within(t, 2*time.Second, func() error {
			return m.Wait(soon(t), "box", guest.ConsoleText("never"), guest.CommandSucceeds("no-such-program"))
		})
		require.ErrorIs(t, err, errors.ErrCommandFailed, "it never will: no waiting")
		require.Error(t, m.Wait(soon(t), "box", guest.Any()))
		require.ErrorIs(t, m.Wait(soon(t), "box", guest.PortOpen(70000)), errors.ErrInvalidConfiguration)

		var panicked *errors.GuestError
		time.AfterFunc(50*time.Millisecond, func() { v.die(&errors.GuestError{Kind: errors.ErrGuestPanic, VM: "box"}) })
		err = within(t, 2*time.Second, func() error {
			return m.Wait(soon(t), "box", guest.Any(guest.FileExists("/no/such"), guest.QMPEvent("SHUTDOWN")))
		})
		require.ErrorAs(t, err, &panicked)
		require.Contains(t, err.Error(), `file "/no/such" exists or QEMU reports SHUTDOWN`)
	})
}
