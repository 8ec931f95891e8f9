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
	name    string
	runtime vm.Runtime
	proc    *process
	client  *qmp.Client

	life    context.Context // ends with the process, and with Release
	release context.CancelCauseFunc

	mu    sync.Mutex
	conns map[*channel]struct{} // those that are open, the client's among them
}

var _ vm.Guest = (*guest)(nil)

func newGuest(b *Backend, name string, rt vm.Runtime, p *process) *guest {
	g := &guest{b: b, name: name, runtime: rt, proc: p, conns: map[*channel]struct{}{}}
	g.life, g.release = context.WithCancelCause(p.ended)
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
func (g *guest) Done() <-chan struct{} { return g.proc.done() }

// Exit implements vm.Guest.
func (g *guest) Exit() errors.ExitStatus {
	if !g.proc.gone() {
		return errors.ExitStatus{}
	}
	return g.proc.exit
}

// exitGrace is how long after its sockets closed a QEMU may take to end: the kernel
// closes them as the last thing before. A Connect whose context ends may wait that long.
const exitGrace = 80 * time.Millisecond

// cause says how QEMU ended, when its end of the control channel closed.
func (g *guest) cause() error {
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-g.proc.done():
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

// Connect implements vm.Guest: it takes the first monitor that nobody uses, or when all
// are taken the first that becomes free. QEMU greets before its devices exist; they do
// when Connect returns.
func (g *guest) Connect(ctx context.Context) error {
	socket, lock, err := g.claimMonitor(ctx)
	if err != nil {
		return errors.Wrap(errors.ErrQMPConnection, "claim a monitor", g.name, err)
	}
	conn, err := g.open(ctx, socket, lock)
	if err == nil {
		err = g.client.Connect(ctx, conn) // closes conn at its end, which frees the monitor
	} else if ctx.Err() == nil { // a socket of ours refuses only when QEMU is gone
		if cause := g.cause(); cause != nil {
			err = errors.Join(cause, err)
		}
	}
	return errors.Wrap(errors.ErrQMPConnection, "connect to QEMU", g.name, err)
}

func (g *guest) claimMonitor(ctx context.Context) (string, *flock.Lock, error) {
	var sockets []string
	for i := range monitors {
		socket := socketPath(g.runtime.Dir, monitorName(i))
		lock, err := flock.Try(lockPath(socket))
		if !errors.Is(err, flock.ErrHeld) {
			return socket, lock, err
		}
		sockets = append(sockets, socket)
	}
	ctx, cancel := g.within(ctx)
	defer cancel()
	return waitAny(ctx, sockets)
}

// waitAny takes the first lock that becomes free.
func waitAny(ctx context.Context, sockets []string) (string, *flock.Lock, error) {
	type result struct {
		socket string
		lock   *flock.Lock
		err    error
	}
	racing, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	for _, socket := range sockets {
		go func() {
			lock, err := flock.Wait(racing, lockPath(socket))
			results <- result{socket, lock, err}
		}()
	}
	var won result
	var errs []error
	for range sockets {
		switch r := <-results; {
		case r.err != nil:
			errs = append(errs, r.err)
		case won.lock != nil: // free in the same moment
			errs = append(errs, r.lock.Unlock())
		default:
			won = r
			cancel()
		}
	}
	switch {
	case won.lock != nil:
		return won.socket, won.lock, nil
	case ctx.Err() != nil:
		return "", nil, context.Cause(ctx)
	default:
		return "", nil, errors.Join(errs...)
	}
}

// Continue implements vm.Guest.
func (g *guest) Continue(ctx context.Context) error {
	_, err := g.client.Execute(ctx, "cont", nil)
	return err
}

// Release implements vm.Guest. Who waits in Connect or Dial gets an error.
func (g *guest) Release() error {
	g.release(net.ErrClosed)
	errs := []error{g.client.Close()}
	g.mu.Lock()
	conns := slices.Collect(maps.Keys(g.conns))
	g.mu.Unlock()
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, g.b.letGo(g.proc))...)
}
