package guest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// dialForward connects through a network card of type user.
func (m *Manager) dialForward(c *call, target netip.AddrPort) (net.Conn, error) {
	if !target.Addr().IsLoopback() {
		return nil, &errors.Error{Kind: errors.ErrAgentUnavailable, Msg: "without maqet's own init only the guest itself can be reached, not " + target.Addr().String()}
	}
	inst, err := m.machines.Get(c.ctx, c.ref)
	if err != nil {
		return nil, err
	}
	g, err := m.machines.Live(c.ctx, c.ref)
	if err != nil {
		return nil, err
	}
	if f, ok := forwardTo(inst, g.Runtime().Forwards, int(target.Port())); ok {
		return dialHost(c.ctx, f)
	}
	card, ok := userCard(inst)
	if !ok {
		return nil, &errors.Error{Kind: errors.ErrAgentUnavailable, Msg: "there is no way to a port of this guest",
			Hint: "give it a network of type user, or a forward to port " + strconv.Itoa(int(target.Port()))}
	}
	return m.forwardOnce(c.ctx, g, card, int(target.Port()))
}

// forwardTo finds a forward to a TCP port of the guest, with the port that was chosen on the
// host where the configuration leaves it open.
func forwardTo(inst vm.Instance, live map[string][]vm.Forward, port int) (vm.Forward, bool) {
	for i, n := range inst.Config.Networks {
		name := n.NameAt(i)
		if slices.Contains(inst.Unplugged, name) {
			continue
		}
		for _, list := range [][]vm.Forward{live[name], inst.Runtime.Forwards[name], n.Forwards} {
			for _, f := range list {
				if f.Guest == port && f.Port != 0 && cmp.Or(f.Proto, "tcp") == "tcp" {
					return f, true
				}
			}
		}
	}
	return vm.Forward{}, false
}

// userCard returns the name of a card that takes forwards while the guest runs.
func userCard(inst vm.Instance) (string, bool) {
	for i, n := range inst.Config.Networks {
		if name := n.NameAt(i); n.TypeOf() == vm.NetworkUser && !slices.Contains(inst.Unplugged, name) {
			return name, true
		}
	}
	return "", false
}

func dialHost(ctx context.Context, f vm.Forward) (net.Conn, error) {
	host := cmp.Or(f.Host, "127.0.0.1")
	if host == "0.0.0.0" {
		host = "127.0.0.1"
	}
	return new(net.Dialer).DialContext(ctx, "tcp4", net.JoinHostPort(host, strconv.Itoa(f.Port)))
}

// forwardTries bounds how often a free port may be taken by somebody else in the moment
// between its choice and its use.
const forwardTries = 5

// forwardOnce connects by a forward that exists for this connection only. The port is chosen
// here and not by QEMU, whose answer would not say which of several is this one.
func (m *Manager) forwardOnce(ctx context.Context, g vm.Guest, card string, port int) (net.Conn, error) {
	var err error
	for range forwardTries {
		var f vm.Forward
		if f, err = freeForward(ctx, port); err != nil {
			return nil, err
		}
		err = humanMonitor(ctx, g, "hostfwd_add "+card+" "+qmp.Forward(f).Rule())
		if errors.Is(err, errRefused) {
			continue
		}
		remove := func() { m.removeForward(g, fmt.Sprintf("hostfwd_remove %s tcp:%s:%d", card, f.Host, f.Port)) }
		var conn net.Conn
		if err == nil {
			conn, err = dialHost(ctx, f)
		}
		if err != nil { // also of a forward that QEMU adds though nobody waits for it any more
			remove()
			return nil, err
		}
		return &forwardConn{Conn: conn, remove: remove}, nil
	}
	return nil, err
}

func freeForward(ctx context.Context, port int) (vm.Forward, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return vm.Forward{}, err
	}
	_, chosen, err := net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		return vm.Forward{}, err
	}
	number, err := strconv.Atoi(chosen)
	return vm.Forward{Host: "127.0.0.1", Port: number, Guest: port, Proto: "tcp"}, err
}

// forwardConn removes its forward when it is closed.
type forwardConn struct {
	net.Conn
	remove func()
	once   sync.Once
}

// CloseWrite ends the direction into the guest.
func (c *forwardConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return syscall.ENOTSUP
}

// Close closes the connection. Its forward is removed in the background.
func (c *forwardConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.remove)
	return err
}

// removeTime bounds how long removing a forward can take, which Manager.Close waits for.
const removeTime = 2 * time.Second

// removeForward does not wait: it is called when a context has ended, too. A forward that
// can't be removed ends with the guest.
func (m *Manager) removeForward(g vm.Guest, line string) {
	remove := func() {
		// Not a caller's context: it may have ended, and the forward has to go all the same.
		ctx, cancel := context.WithTimeout(context.Background(), removeTime)
		defer cancel()
		// What it says, "removed" or "not found", is all the same.
		if _, err := g.QMP().Execute(ctx, "human-monitor-command", map[string]string{"command-line": line}); err != nil {
			m.log.Debug("forward not removed", "error", err)
		}
	}
	if !m.background(func(context.Context) { remove() }) {
		remove()
	}
}

var errRefused = errors.New("the monitor refused it")

// humanMonitor runs a line of QEMU's human monitor that prints nothing unless it fails: there
// is no QMP command for forwards. Every part of the line was validated or made here.
func humanMonitor(ctx context.Context, g vm.Guest, line string) error {
	raw, err := g.QMP().Execute(ctx, "human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	if text != "" {
		return fmt.Errorf("%w: %s", errRefused, text)
	}
	return nil
}
