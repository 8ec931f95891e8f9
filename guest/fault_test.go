package guest_test

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

var true1 = guest.Command{Args: []string{"true"}}

// within runs fn and requires it to be back in time.
func within(t *testing.T, limit time.Duration, fn func() error) error {
	t.Helper()
	start := time.Now()
	err := fn()
	require.Less(t, time.Since(start), limit)
	return err
}

// withPeer gives v a channel whose other end peer plays.
func withPeer(t *testing.T, v *fakeVM, channel string, peer func(net.Conn)) {
	t.Helper()
	v.channel(channel, func(context.Context) (net.Conn, error) {
		host, other := socketpair(t)
		done := make(chan struct{})
		go func() { defer close(done); peer(other) }()
		t.Cleanup(func() { _ = other.Close(); <-done })
		return host, nil
	})
}

// deaf takes everything and says nothing, like a guest that has no agent.
func deaf(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func channels(t *testing.T, test func(t *testing.T, channel string)) {
	for _, channel := range []string{vm.ChannelStream0, vm.ChannelAgent} {
		t.Run(channel, func(t *testing.T) { test(t, channel) })
	}
}

func TestAgentThatNeverAnswers(t *testing.T) {
	channels(t, func(t *testing.T, channel string) {
		v := newFakeVM(t)
		v.inst.Config.Timeouts.Ready = vm.Duration(100 * time.Millisecond)
		withPeer(t, v, channel, deaf)
		m := v.manager(t)
		err := within(t, 2*time.Second, func() error { _, err := m.Exec(soon(t), "box", true1); return err })
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context did not end")
		require.Contains(t, err.Error(), "qemu-guest-agent")

		ctx, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
		defer cancel()
		err = within(t, 2*time.Second, func() error { _, err := m.Exec(ctx, "box", true1); return err })
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestGuestEndsWhileItsAgentIsAwaited(t *testing.T) {
	for name, cause := range map[string]error{
		"exit":    &errors.Error{Kind: errors.ErrVMNotRunning, VM: "box", Msg: "exited"},
		"panic":   &errors.GuestError{Kind: errors.ErrGuestPanic, VM: "box", Console: "Kernel panic"},
		"silence": &errors.GuestError{Kind: errors.ErrGuestSilent, VM: "box"},
	} {
		t.Run(name, func(t *testing.T) {
			channels(t, func(t *testing.T, channel string) {
				v := newFakeVM(t)
				withPeer(t, v, channel, deaf)
				m := v.manager(t)
				time.AfterFunc(50*time.Millisecond, func() { v.die(cause) })
				err := within(t, 2*time.Second, func() error { _, err := m.Exec(soon(t), "box", true1); return err })
				require.Equal(t, cause, err, "unchanged")
			})
		})
	}
}

func TestGuestEndsWhileACommandRuns(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		cause := &errors.GuestError{Kind: errors.ErrGuestPanic, VM: "box"}
		time.AfterFunc(100*time.Millisecond, func() { v.die(cause) })
		err := within(t, 2*time.Second, func() error {
			_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sleep", "5"}})
			return err
		})
		require.Equal(t, error(cause), err)
	})
}

func TestSilenceDoesNotEndACommand(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		require.NoError(t, m.Ping(soon(t), "box"))
		time.AfterFunc(50*time.Millisecond, func() { v.die(&errors.GuestError{Kind: errors.ErrGuestSilent}) })
		_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sleep", "0.2"}})
		require.NoError(t, err)
	})
}

func TestConnectionLost(t *testing.T) {
	channels(t, func(t *testing.T, channel string) {
		v := newFakeVM(t)
		withPeer(t, v, channel, func(c net.Conn) { _ = c.Close() })
		m := v.manager(t)
		err := within(t, 2*time.Second, func() error { _, err := m.Exec(soon(t), "box", true1); return err })
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)

		time.AfterFunc(50*time.Millisecond, func() { v.die(&errors.Error{Kind: errors.ErrVMNotRunning, Msg: "its guest has ended"}) })
		err = within(t, 2*time.Second, func() error { _, err := m.Exec(soon(t), "box", true1); return err })
		require.ErrorIs(t, err, errors.ErrVMNotRunning, "the reason comes a moment later")
	})
}

func TestGarbageFromTheGuest(t *testing.T) {
	channels(t, func(t *testing.T, channel string) {
		v := newFakeVM(t)
		v.inst.Config.Timeouts.Ready = vm.Duration(200 * time.Millisecond)
		withPeer(t, v, channel, func(c net.Conn) {
			go deaf(c)
			for {
				if _, err := io.WriteString(c, strings.Repeat("\xff{]\n\xa6\x00", 1000)); err != nil {
					return
				}
			}
		})
		m := v.manager(t)
		_, err := m.Exec(soon(t), "box", true1)
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	})
}

// TestReset: a guest that resets forgets its sessions; the command fails, the next one
// gets a new session.
func TestReset(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		require.NoError(t, m.Ping(soon(t), "box"))
		before := v.dials.Load()
		time.AfterFunc(50*time.Millisecond, func() { v.monitor.events <- goqemu.Event{Event: "RESET"} })
		_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sleep", "2"}})
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
		require.NoError(t, m.Ping(soon(t), "box"))
		require.Greater(t, v.dials.Load(), before)
	})
}

// TestStreamsTaken: with both stream channels in use elsewhere the agent's does.
func TestStreamsTaken(t *testing.T) {
	v := withAgent(t, newFakeVM(t))
	taken := func(context.Context) (net.Conn, error) {
		return nil, &errors.Error{Kind: errors.ErrAgentUnavailable, Msg: "in use"}
	}
	v.channel(vm.ChannelStream0, taken)
	v.channel(vm.ChannelStream1, taken)
	_, err := v.manager(t).Exec(soon(t), "box", true1)
	require.NoError(t, err)
}

func TestNoChannelAtAll(t *testing.T) {
	v := newFakeVM(t)
	_, err := v.manager(t).Exec(soon(t), "box", true1)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
}

// TestAgentsTakeTurns: two managers, as of two processes, share one agent channel.
func TestAgentsTakeTurns(t *testing.T) {
	v := withAgent(t, newFakeVM(t))
	a, b := v.manager(t), v.manager(t)
	done := make(chan error, 1)
	go func() {
		_, err := a.Exec(soon(t), "box", guest.Command{Args: []string{"sleep", "3"}})
		done <- err
	}()
	for range 3 {
		require.NoError(t, within(t, 2*time.Second, func() error { return b.Ping(soon(t), "box") }))
	}
	require.NoError(t, <-done)
}

func TestClose(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		done := make(chan error, 1)
		go func() {
			_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sleep", "5"}})
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, within(t, time.Second, m.Close))
		require.ErrorIs(t, <-done, errors.ErrAgentUnavailable)
		require.ErrorIs(t, m.Ping(soon(t), "box"), errors.ErrAgentUnavailable)
		require.NoError(t, m.Close())
	})
}

func TestAgentCommandsAndInfo(t *testing.T) {
	v := withAgent(t, newFakeVM(t))
	m := v.manager(t)
	info, err := m.Info(soon(t), "box")
	require.NoError(t, err)
	name, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, name, info.Hostname)
	require.Contains(t, info.Commands, "guest-exec")
	require.NotEmpty(t, info.Kernel)
	require.NotEmpty(t, info.Interfaces)

	_, err = m.Agent(soon(t), "box", "guest-no-such-command", nil)
	var refusal *errors.QMPError
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "CommandNotFound", refusal.Class)
}
