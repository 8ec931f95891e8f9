package process

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/internal/tail"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// guest is a live QEMU. It implements vm.Guest.
type guest struct {
	b       *Backend
	id      string
	cfg     vm.Config
	runtime vm.Runtime
	proc    *process
	client  *qmp.Client

	mu      sync.Mutex
	monitor *flock.Lock // of the monitor that client is connected to
	conns   map[*channel]struct{}
	closed  bool
}

var _ vm.Guest = (*guest)(nil)

func newGuest(b *Backend, id string, cfg vm.Config, rt vm.Runtime, p *process) *guest {
	g := &guest{b: b, id: id, cfg: cfg, runtime: rt, proc: p, conns: map[*channel]struct{}{}}
	g.client = qmp.NewClient(qmp.WithCause(g.cause))
	return g
}

// Runtime implements vm.Guest.
func (g *guest) Runtime() vm.Runtime {
	rt := g.runtime
	rt.Args, rt.Disks, rt.Sockets = slices.Clone(rt.Args), slices.Clone(rt.Disks), maps.Clone(rt.Sockets)
	return rt
}

// QMP implements vm.Guest.
func (g *guest) QMP() qmp.Conn { return g.client }

// Done implements vm.Guest.
func (g *guest) Done() <-chan struct{} { return g.proc.done }

// Exit implements vm.Guest.
func (g *guest) Exit() errors.ExitStatus {
	if !g.proc.gone() {
		return errors.ExitStatus{}
	}
	return g.proc.exit
}

// exitGrace is how long after its sockets closed a QEMU may take to end.
const exitGrace = 200 * time.Millisecond

// cause says how QEMU ended, when its end of the control channel closed.
func (g *guest) cause() error {
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-g.proc.done:
	case <-timer.C:
		return nil
	}
	text := fmt.Sprintf("QEMU ended with %v", g.proc.exit)
	if last := lastLine(g.runtime.Stderr); last != "" {
		text += ": " + last
	}
	return errors.New(text)
}

func lastLine(path string) string {
	data, err := tail.Last(path, 1024)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// Connect implements vm.Guest: it takes the first monitor that nobody uses, and waits
// for the last one when all are taken. QEMU greets before its devices exist; they do
// when Connect returns.
func (g *guest) Connect(ctx context.Context) error {
	socket, lock, err := g.claimMonitor(ctx)
	if err != nil {
		return errors.Wrap(errors.ErrQMPConnection, "claim a monitor", g.cfg.Name, err)
	}
	conn, err := dial(ctx, socket)
	if err == nil {
		err = g.client.Connect(ctx, conn)
	} else if ctx.Err() == nil { // a socket of ours refuses only when QEMU is gone
		if cause := g.cause(); cause != nil {
			err = errors.Join(cause, err)
		}
	}
	if err != nil {
		return errors.Join(errors.Wrap(errors.ErrQMPConnection, "connect to QEMU", g.cfg.Name, err), lock.Unlock())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.monitor = lock
	return nil
}

func (g *guest) claimMonitor(ctx context.Context) (string, *flock.Lock, error) {
	var socket string
	for i := range monitors {
		socket = socketPath(g.runtime.Dir, monitorName(i))
		lock, err := flock.Try(lockPath(socket))
		if !errors.Is(err, flock.ErrHeld) {
			return socket, lock, err
		}
	}
	lock, err := flock.Wait(ctx, lockPath(socket))
	return socket, lock, err
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}

// Continue implements vm.Guest.
func (g *guest) Continue(ctx context.Context) error {
	_, err := g.client.Execute(ctx, "cont", nil)
	return err
}

// Release implements vm.Guest.
func (g *guest) Release() error {
	g.mu.Lock()
	g.closed = true
	conns := slices.Collect(maps.Keys(g.conns))
	monitor := g.monitor
	g.mu.Unlock()
	errs := []error{g.client.Close(), monitor.Unlock()}
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	g.b.letGo(g)
	return errors.Join(errs...)
}

// letGo ends the watch on a process, except of an ephemeral one that lives: its thread
// must outlive it, so the backend keeps it until Close.
func (b *Backend) letGo(g *guest) {
	b.mu.Lock()
	_, kept := b.ephemeral[g.proc]
	b.mu.Unlock()
	if kept && !g.proc.gone() {
		return
	}
	b.forget(g.proc)
	if err := g.proc.close(); err != nil {
		b.log.Debug("process handle not closed", "vm", g.cfg.Name, "error", err)
	}
}
