//go:build linux

package qmp

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

func testLibvirtConcurrency(t *testing.T, domains libvirtDomains) {
	domains.start(t, "many")
	c, _ := domains.connect(t, "many")
	m := NewManager(oneVM{c})
	var all errgroup.Group
	for g := range 16 {
		all.Go(func() error {
			for n := range 20 {
				text := fmt.Sprintf("g%dn%d", g, n)
				said, err := m.HMP(AllowDangerous(t.Context()), "web", text)
				if err != nil {
					return err
				}
				if want := "unknown command: '" + text + "'\r\n"; said != want {
					return fmt.Errorf("%q instead of %q", said, want)
				}
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
}

func testLibvirtQEMUHangs(t *testing.T, domains libvirtDomains) {
	domains.start(t, "hangs")
	c, _ := domains.connect(t, "hangs")
	m := NewManager(oneVM{c})
	qemu := domains.daemon.Process(t, "hangs")
	require.NoError(t, qemu.Signal(unix.SIGSTOP))
	defer qemu.Signal(unix.SIGKILL) // or the end of the test would wait 10 s for it

	for range 2 { // in flight, then waiting for its turn
		ctx, cancel := context.WithCancel(t.Context())
		cancelled := time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		_, err := m.Status(ctx, "web")
		require.Less(t, time.Since(start), 2*time.Second)
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
		require.ErrorIs(t, err, context.Canceled)
		cancelled.Stop()
		cancel()
	}
	require.NoError(t, qemu.Signal(unix.SIGCONT))
	status, err := m.Status(within(t, 10*time.Second), "web")
	require.NoError(t, err, "the reply to the abandoned command is nobody's")
	require.Equal(t, "prelaunch", status.Status)

	require.NoError(t, qemu.Signal(unix.SIGSTOP))
	waiting := execute(t.Context(), c, "query-status", nil)
	start := time.Now()
	require.NoError(t, c.Close())
	require.Less(t, time.Since(start), 2*time.Second, "Close does not wait for QEMU")
	require.ErrorIs(t, soon(t, waiting).err, errors.ErrQMPConnection)
}

// hammer executes commands until one fails, and returns its error.
func hammer(ctx context.Context, m *Manager) <-chan error {
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := m.Status(ctx, "web"); err != nil {
				failed <- err
				return
			}
		}
	}()
	return failed
}

func testLibvirtDestroyed(t *testing.T, domains libvirtDomains) {
	domain := domains.start(t, "destroyed")
	c, _ := domains.connect(t, "destroyed")
	m := NewManager(oneVM{c})
	failed := hammer(t.Context(), m)
	require.NoError(t, domains.conn.DomainDestroy(domain))
	require.ErrorIs(t, soon(t, failed), errors.ErrQMPConnection)
	expectGone(t, m, c)
}

// libvirt's stream of events does not end with the domain, so a connection is seen to be
// lost by the next command only.
func testLibvirtGoneWhileIdle(t *testing.T, domains libvirtDomains) {
	domain := domains.start(t, "idle")
	c, _ := domains.connect(t, "idle")
	events := c.Subscribe()
	require.NoError(t, domains.conn.DomainDestroy(domain))
	_, err := events.Await(within(t, 10*time.Second), func(e Event) bool { return e.Name == "SHUTDOWN" })
	require.NoError(t, err)
	require.NoError(t, c.Err())
	expectGone(t, NewManager(oneVM{c}), c)
	closed(t, events.C())

	domains.start(t, "idle")
	_, err = c.Execute(t.Context(), "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection, "the new domain is another QEMU")
}

func testLibvirtQEMUKilled(t *testing.T, domains libvirtDomains) {
	domains.start(t, "killed")
	c, _ := domains.connect(t, "killed")
	m := NewManager(oneVM{c})
	failed := hammer(t.Context(), m)
	qemu := domains.daemon.Process(t, "killed")
	require.NoError(t, qemu.Signal(unix.SIGKILL))
	require.ErrorIs(t, soon(t, failed), errors.ErrQMPConnection)
	expectGone(t, m, c)
}

// expectGone expects that commands say that the domain is gone, and that the connection
// ends. For a moment after QEMU's end libvirt can have other words for it, from which
// nothing follows for good.
func expectGone(t *testing.T, m *Manager, c Conn) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	for c.Err() == nil {
		_, err := m.Status(ctx, "web")
		require.ErrorIs(t, err, errors.ErrQMPConnection)
		var e libvirt.Error
		require.ErrorAs(t, err, &e, "%v", err)
	}
	require.ErrorIs(t, c.Err(), errors.ErrQMPConnection)
	closed(t, c.Done())
}

func testLibvirtConnectionClosed(t *testing.T, domains libvirtDomains) {
	domains.start(t, "closed")
	c, below := domains.connect(t, "closed")
	qemu := domains.daemon.Process(t, "closed")
	require.NoError(t, qemu.Signal(unix.SIGSTOP))
	defer qemu.Signal(unix.SIGKILL)
	sub := c.Subscribe()
	waiting := execute(t.Context(), c, "query-status", nil)
	require.NoError(t, below.Close())
	require.ErrorIs(t, soon(t, waiting).err, errors.ErrQMPConnection)
	closed(t, c.Done())
	closed(t, sub.C())
	require.NoError(t, c.Close())
}

// Disconnect asks libvirtd first. Closing the net.Conn is the way out when that hangs.
func testLibvirtdHangs(t *testing.T, domains libvirtDomains) {
	domains.start(t, "libvirtd-hangs")
	c, below := domains.connect(t, "libvirtd-hangs")
	libvirtd := domains.daemon.Libvirtd(t)
	require.NoError(t, libvirtd.Signal(unix.SIGSTOP))
	defer libvirtd.Signal(unix.SIGCONT)
	start := time.Now()
	_, err := NewManager(oneVM{c}).Status(within(t, 50*time.Millisecond), "web")
	require.Less(t, time.Since(start), 2*time.Second)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)

	start = time.Now()
	require.NoError(t, below.Close())
	require.NoError(t, c.Close())
	require.Less(t, time.Since(start), 2*time.Second)
}

func testLibvirtdKilled(t *testing.T, domains libvirtDomains) {
	domains.start(t, "libvirtd-killed")
	c, _ := domains.connect(t, "libvirtd-killed")
	waiting := hammer(t.Context(), NewManager(oneVM{c}))
	require.NoError(t, domains.daemon.Libvirtd(t).Signal(unix.SIGKILL))
	require.ErrorIs(t, soon(t, waiting), errors.ErrQMPConnection)
	closed(t, c.Done())
	require.NoError(t, c.Close())
}

// go-libvirt deadlocked within 19 cycles when a stream of events was cancelled under
// load (its issue 191): Close must disconnect first.
func testLibvirtClosedUnderEvents(t *testing.T, domains libvirtDomains) {
	domains.start(t, "events")
	source, _ := domains.connect(t, "events")
	ctx, cancel := context.WithCancel(t.Context())
	var resets sync.WaitGroup
	defer resets.Wait()
	defer cancel()
	resets.Go(func() {
		for ctx.Err() == nil {
			_, _ = source.Execute(ctx, "system_reset", nil)
		}
	})
	for range 40 {
		c, _ := domains.connect(t, "events")
		_, err := c.Subscribe("RESET").Await(within(t, 10*time.Second), nil)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- c.Close() }()
		require.NoError(t, soon(t, ended))
	}
}
