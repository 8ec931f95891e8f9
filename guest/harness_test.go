package guest_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dialer connects to one channel of a fake guest.
type dialer func(ctx context.Context) (net.Conn, error)

// fakeVM stands for vm.Manager and one live guest of it, so that every fault of a guest
// can be made. The other ends of its channels are the real ones: package wire's server
// and Debian's qemu-ga.
type fakeVM struct {
	inst     vm.Instance
	qmp      qmp.Conn
	monitor  *fakeMonitor
	channels map[string]dialer
	exited   chan struct{}
	exit     sync.Once
	dials    atomic.Int32
	ops      hostOperations // of withInit
	dir      string         // of a real guest's sockets

	mu     sync.Mutex
	cause  error // why Guard ends
	guards map[*context.CancelCauseFunc]bool
}

func newFakeVM(t testing.TB) *fakeVM {
	t.Helper()
	monitor := &fakeMonitor{events: make(chan goqemu.Event)}
	conn, err := qmp.FromMonitor(monitor)
	require.NoError(t, err)
	v := &fakeVM{
		inst:     vm.Instance{ID: "5f1c1f5e-0000-4000-8000-000000000001", Name: "box", State: vm.Running},
		qmp:      conn,
		monitor:  monitor,
		channels: map[string]dialer{},
		exited:   make(chan struct{}),
		guards:   map[*context.CancelCauseFunc]bool{},
	}
	v.inst.Runtime.Sockets = map[string]string{}
	v.inst.Runtime.Console = filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(v.inst.Runtime.Console, nil, 0o600))
	t.Cleanup(func() { _ = conn.Close() })
	return v
}

// manager returns a manager of v that is closed before the guest's cleanups run.
func (v *fakeVM) manager(t testing.TB) *guest.Manager {
	t.Helper()
	m := guest.NewManager(v)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func (v *fakeVM) channel(name string, dial dialer) {
	v.channels[name] = dial
	v.inst.Runtime.Sockets[name] = "socket of " + name
}

// die ends the guest: cause is what Guard reports.
func (v *fakeVM) die(cause error) {
	v.mu.Lock()
	v.cause = cause
	for cancel := range v.guards {
		(*cancel)(cause)
	}
	v.mu.Unlock()
	if !errors.Is(cause, errors.ErrGuestSilent) {
		v.exit.Do(func() { close(v.exited) })
	}
}

func (v *fakeVM) Get(_ context.Context, ref string) (vm.Instance, error) {
	if ref != v.inst.Name && ref != v.inst.ID {
		return vm.Instance{}, &errors.Error{Kind: errors.ErrVMNotFound, VM: ref}
	}
	return v.inst, nil
}

func (v *fakeVM) Live(ctx context.Context, ref string) (vm.Guest, error) {
	if _, err := v.Get(ctx, ref); err != nil {
		return nil, err
	}
	select {
	case <-v.exited:
		return nil, &errors.Error{Kind: errors.ErrVMNotRunning, VM: ref}
	default:
		return v, nil
	}
}

func (v *fakeVM) Guard(ctx context.Context, ref string) (context.Context, context.CancelFunc, error) {
	if _, err := v.Live(ctx, ref); err != nil {
		return nil, nil, err
	}
	guarded, cancel := context.WithCancelCause(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause != nil {
		cancel(v.cause)
	}
	v.guards[&cancel] = true
	return guarded, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.guards, &cancel)
		cancel(nil)
	}, nil
}

func (v *fakeVM) Dial(ctx context.Context, channel string, _ bool) (net.Conn, error) {
	dial, ok := v.channels[channel]
	if !ok {
		return nil, &errors.Error{Kind: errors.ErrAgentUnavailable, Msg: "no channel " + channel}
	}
	v.dials.Add(1)
	return dial(ctx)
}

func (v *fakeVM) Runtime() vm.Runtime            { return v.inst.Runtime }
func (v *fakeVM) Connect(context.Context) error  { return nil }
func (v *fakeVM) QMP() qmp.Conn                  { return v.qmp }
func (v *fakeVM) Continue(context.Context) error { return nil }
func (v *fakeVM) Ladder() []vm.StopStep          { return nil }
func (v *fakeVM) Done() <-chan struct{}          { return v.exited }
func (v *fakeVM) Exit() errors.ExitStatus        { return errors.ExitStatus{Known: true} }
func (v *fakeVM) Release() error                 { return nil }

// fakeMonitor is a QMP monitor that has events, and answers what it is told to.
type fakeMonitor struct {
	events chan goqemu.Event
	answer func(command string) string // nil: {"return":{}}
}

func (m *fakeMonitor) Connect() error    { return nil }
func (m *fakeMonitor) Disconnect() error { return nil }
func (m *fakeMonitor) Run(command []byte) ([]byte, error) {
	if m.answer != nil {
		return []byte(m.answer(string(command))), nil
	}
	return []byte(`{"return":{}}`), nil
}
func (m *fakeMonitor) Events(ctx context.Context) (<-chan goqemu.Event, error) {
	context.AfterFunc(ctx, func() { close(m.events) })
	return m.events, nil
}

// socketpair returns both ends of a connection like that to QEMU's sockets.
func socketpair(t testing.TB) (host, peer net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	host, err = net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	peer, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = host.Close(); _ = peer.Close() })
	return host, peer
}

// withInit gives v a stream channel that package wire serves, on this host.
func withInit(t testing.TB, v *fakeVM) *fakeVM {
	t.Helper()
	var servers sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); servers.Wait() })
	v.channel(vm.ChannelStream0, func(context.Context) (net.Conn, error) {
		host, peer := socketpair(t)
		servers.Go(func() { _ = wire.Serve(ctx, peer, v.ops) })
		return host, nil
	})
	return v
}

// withAgent gives v an agent channel with Debian's qemu-ga behind it, on this host.
func withAgent(t testing.TB, v *fakeVM) *fakeVM {
	t.Helper()
	binary := findAgent(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	require.Less(t, len(socket), 108)
	cmd := exec.Command(binary, "-m", "unix-listen", "-p", socket, "-t", dir, "-f", filepath.Join(dir, "pid"))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	var closing sync.WaitGroup
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); closing.Wait() })
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	var turn sync.Mutex // qemu-ga serves one client at a time, as a port of QEMU does
	v.channel(vm.ChannelAgent, func(ctx context.Context) (net.Conn, error) {
		turn.Lock()
		conn, err := net.Dial("unix", socket)
		// It listens anew after each client, which a port of QEMU need not.
		for begun := time.Now(); errors.Is(err, syscall.ECONNREFUSED) && time.Since(begun) < 5*time.Second; {
			time.Sleep(5 * time.Millisecond)
			conn, err = net.Dial("unix", socket)
		}
		if err != nil {
			turn.Unlock()
			return nil, err
		}
		return &turnConn{UnixConn: conn.(*net.UnixConn), closing: &closing, done: turn.Unlock}, nil
	})
	return v
}

// turnConn is a connection to qemu-ga. A port of QEMU has no such error, but of a socket that is
// closed with an answer in it qemu-ga reads ECONNRESET, and ends. So all is read before.
type turnConn struct {
	*net.UnixConn
	once    sync.Once
	closing *sync.WaitGroup
	done    func()
}

func (c *turnConn) Close() (err error) {
	c.once.Do(func() {
		rest, failed := c.File()
		if failed == nil {
			failed = c.CloseWrite()
		}
		err = errors.Join(failed, c.UnixConn.Close())
		c.closing.Go(func() {
			defer c.done()
			_, _ = io.Copy(io.Discard, rest)
			_ = rest.Close()
		})
	})
	return err
}

// findAgent returns the path of qemu-ga: an installed one, or the one that
// "scripts/setup.sh --test" unpacks.
func findAgent(t testing.TB) string {
	t.Helper()
	cache, err := kernel.DefaultCacheDir()
	require.NoError(t, err)
	unpacked := filepath.Join(cache, "tools/qemu-guest-agent/usr/sbin/qemu-ga")
	for _, name := range []string{"qemu-ga", "/usr/sbin/qemu-ga", unpacked} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testhost.Lacks(t, "qemu-ga is missing: run scripts/setup.sh --test, or apt-get install qemu-guest-agent")
	return ""
}

// bothWays runs a test with each way into a guest.
func bothWays(t *testing.T, test func(t *testing.T, v *fakeVM, m *guest.Manager)) {
	for name, with := range map[string]func(testing.TB, *fakeVM) *fakeVM{"init": withInit, "agent": withAgent} {
		t.Run(name, func(t *testing.T) {
			v := with(t, newFakeVM(t))
			test(t, v, v.manager(t))
		})
	}
}

// soon is a context for what must not take long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
