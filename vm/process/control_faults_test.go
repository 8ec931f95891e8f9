package process

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// sharing is a guest without QEMU whose only free monitor is the shared one.
func sharing(t *testing.T, opts ...qmp.ClientOption) (c *control, hangUp func(), end context.CancelCauseFunc) {
	dir, err := os.MkdirTemp("", "mp-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for i := range monitors - 1 {
		lock, err := flock.Try(lockPath(socketPath(dir, monitorName(i))))
		require.NoError(t, err)
		t.Cleanup(func() { _ = lock.Unlock() })
	}
	l, err := net.Listen("unix", socketPath(dir, monitorName(monitors-1)))
	require.NoError(t, err)
	conns := make(chan net.Conn, 16)
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns <- conn
			serving.Go(func() { serveMonitor(conn) })
		}
	})
	g := &guest{runtime: vm.Runtime{Dir: dir}, conns: map[*channel]struct{}{}}
	g.life, g.release = context.WithCancelCause(context.Background())
	g.proc = &process{ended: g.life}
	g.control = newControl(g, opts...)
	t.Cleanup(func() {
		g.release(nil)
		require.NoError(t, g.control.Close())
	})
	hangUp = func() {
		for {
			select {
			case conn := <-conns:
				_ = conn.Close()
			default:
				return
			}
		}
	}
	return g.control, hangUp, g.release
}

var withID = regexp.MustCompile(`"id":(\d+)`)

func serveMonitor(conn net.Conn) {
	defer conn.Close()
	_, _ = fmt.Fprintln(conn, `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}`)
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if m := withID.FindStringSubmatch(line); m != nil {
			_, _ = fmt.Fprintf(conn, `{"return": {}, "id": %s}`+"\n", m[1])
		} else {
			_, _ = fmt.Fprintln(conn, `{"return": {}}`)
		}
	}
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// Who holds the turn for longer than turnLimit does not wait for itself.
func TestHolderWaitsForItself(t *testing.T) {
	c, _, _ := sharing(t)
	require.NoError(t, c.connect(short(t)))
	release, err := c.Hold(short(t))
	require.NoError(t, err)
	defer release()
	time.Sleep(turnLimit + 50*time.Millisecond)
	_, err = c.Execute(short(t), "remove-fd", nil)
	require.NoError(t, err)
}

// A claimer that is not scheduled for turnLimit between claim and hold does not leave a
// turn without users, which nobody would end.
func TestTurnWithoutUsers(t *testing.T) {
	c, _, _ := sharing(t)
	require.NoError(t, c.connect(short(t)))
	require.NoError(t, c.claim(short(t))) // as hold calls it
	time.Sleep(turnLimit + 50*time.Millisecond)
	_, err := c.Execute(short(t), "query-status", nil) // as hold goes on
	require.NoError(t, err)
	lock, err := flock.Try(lockPath(socketPath(c.guest.runtime.Dir, monitorName(monitors-1))))
	require.NoError(t, err)
	require.NoError(t, lock.Unlock())
}

// The guest dies during a turn that ends before the loss was noticed.
func TestLossSwallowedByLeave(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	c, hangUp, end := sharing(t, qmp.WithCause(func() error { close(asked); <-goOn; return nil }))
	require.NoError(t, c.connect(short(t)))
	sub := c.Subscribe()
	release, err := c.Hold(short(t))
	require.NoError(t, err)
	hangUp()                          // QEMU's sockets close,
	<-asked                           // the reader asks how it ended,
	end(errEnded)                     // it has ended: AfterFunc sees a turn,
	time.Sleep(50 * time.Millisecond) //
	left := make(chan struct{})
	go func() { release(); close(left) }() // whose last user leaves
	time.Sleep(50 * time.Millisecond)
	close(goOn)
	<-left
	select {
	case <-c.Done():
	case <-time.After(time.Second):
		t.Fatal("Done is never closed")
	}
	_, err = sub.Await(short(t), func(e qmp.Event) bool { return e.Name != qmp.EventGap })
	require.ErrorIs(t, err, errors.ErrQMPConnection)
}

// connect does not succeed on a connection that is lost, while somebody holds its turn.
func TestConnectOnLostTurn(t *testing.T) {
	c, hangUp, _ := sharing(t)
	require.NoError(t, c.connect(short(t)))
	release, err := c.Hold(short(t))
	require.NoError(t, err)
	hangUp()
	<-c.Done()
	time.AfterFunc(30*time.Millisecond, release)
	require.NoError(t, c.connect(short(t)))
	require.NoError(t, c.Err(), "connect has returned nil")
}

// QEMU ends during the handshake, and AfterFunc is quicker than the reader.
func TestConnectErrorKeepsCause(t *testing.T) {
	dir, err := os.MkdirTemp("", "mp-")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", socketPath(dir, monitorName(0)))
	require.NoError(t, err)
	defer l.Close()
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "60"}, &syscall.ProcAttr{})
	require.NoError(t, err)
	handle, err := proc.OpenChild(pid)
	require.NoError(t, err)
	p := watch(handle)
	g := newGuest(nil, "web", vm.Runtime{Dir: dir}, p)
	defer g.control.Close()
	failed := make(chan error, 1)
	go func() { failed <- g.Connect(short(t)) }()
	conn, err := l.Accept() // and never greets, nor hangs up: the reader sees nothing yet
	require.NoError(t, err)
	defer conn.Close()
	time.Sleep(50 * time.Millisecond)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	time.AfterFunc(50*time.Millisecond, func() { _ = conn.Close() }) // seen later than the process
	err = <-failed
	require.True(t, strings.Contains(err.Error(), "QEMU ended with"), err)
}

// As qmp.Conn says: "When ctx ends first the error is errors.ErrQMPTimeout and ctx's".
func TestWaitingForATurnIsATimeout(t *testing.T) {
	c, _, _ := sharing(t)
	require.NoError(t, c.connect(short(t)))
	lock, err := flock.Try(lockPath(socketPath(c.guest.runtime.Dir, monitorName(monitors-1))))
	require.NoError(t, err)
	defer lock.Unlock()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("why"))
	defer cancel()
	_, err = c.Execute(ctx, "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// The control channel of a guest that is gone does not take the monitor of the next guest
// in the same folder.
func TestGoneGuestLeavesTheNextOneAlone(t *testing.T) {
	c, _, end := sharing(t)
	require.NoError(t, c.connect(short(t)))
	end(errEnded)
	<-c.Done()
	socket := socketPath(c.guest.runtime.Dir, "qmp0")
	require.NoError(t, os.Remove(lockPath(socket))) // the guest is cleaned away, and started anew
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	taken := make(chan bool, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_ = conn.Close()
		}
		taken <- err == nil
	}()
	_, err = c.Execute(short(t), "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.NoError(t, l.Close())
	require.False(t, <-taken)
}

// A connection that was lost during a turn stays lost until the next connect, as one to a
// monitor of one's own does.
func TestLossIsSticky(t *testing.T) {
	c, hangUp, _ := sharing(t)
	require.NoError(t, c.connect(short(t)))
	release, err := c.Hold(short(t))
	require.NoError(t, err)
	hangUp()
	<-c.Done()
	release()
	_, err = c.Execute(short(t), "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorIs(t, c.Err(), errors.ErrQMPConnection)
}
