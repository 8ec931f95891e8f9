package process

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/tail"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// guest is a live QEMU. It implements vm.Guest.
type guest struct {
	b       *Backend
	name    string
	proc    *process
	control *control
	display served   // what Connect has to make secure
	sockets []string // likewise, outside of the guest's own folder

	life    context.Context // ends with the process, and with Release
	release context.CancelCauseFunc

	mu      sync.Mutex
	runtime vm.Runtime            // but for Forwards and Terminals it never changes
	cards   []card                // what Connect has still to set up
	ports   []string              // of its cards, on segments that this process has joined for it
	conns   map[*channel]struct{} // those that are open, the control channel's among them
}

var (
	_ vm.Guest    = (*guest)(nil)
	_ vm.Capturer = (*guest)(nil)
)

func newGuest(b *Backend, name string, rt vm.Runtime, p *process) *guest {
	g := &guest{b: b, name: name, runtime: rt, proc: p, conns: map[*channel]struct{}{}}
	g.life, g.release = context.WithCancelCause(p.ended)
	g.control = newControl(g, qmp.WithCause(g.cause), qmp.WithBinary(binaryOf(rt.Process.PID)))
	return g
}

// binaryOf names the build that a process runs, also when its file has been replaced since;
// empty when it can't be seen.
func binaryOf(pid int) string {
	info, err := os.Stat(procExe(pid))
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d %d %s", st.Dev, st.Ino, info.Size(), info.ModTime().Format(time.RFC3339Nano))
}

// Runtime implements vm.Guest.
func (g *guest) Runtime() vm.Runtime {
	g.mu.Lock()
	defer g.mu.Unlock()
	rt := g.runtime
	rt.Args, rt.Disks, rt.Sockets = slices.Clone(rt.Args), slices.Clone(rt.Disks), maps.Clone(rt.Sockets)
	rt.Helpers, rt.Captures, rt.Terminals = slices.Clone(rt.Helpers), maps.Clone(rt.Captures), maps.Clone(rt.Terminals)
	rt.Cards, rt.Boot.Cmdline = slices.Clone(rt.Cards), slices.Clone(rt.Boot.Cmdline)
	rt.Forwards = maps.Clone(rt.Forwards)
	for name, list := range rt.Forwards {
		rt.Forwards[name] = slices.Clone(list)
	}
	return rt
}

// QMP implements vm.Guest.
func (g *guest) QMP() qmp.Conn { return g.control }

// Done implements vm.Guest.
func (g *guest) Done() <-chan struct{} { return g.proc.done() }

// LostHelpers implements vm.HelperWatcher.
func (g *guest) LostHelpers() <-chan vm.Helper { return g.proc.lost }

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

// exitWait is how long a Connect that lost QEMU waits to hear how it ended, its helpers
// with it. Nobody's command waits meanwhile.
const exitWait = 3 * time.Second

// endedError says how QEMU ended.
type endedError struct{ text string }

func (e *endedError) Error() string { return e.text }

// cause says how QEMU ended, when its end of the control channel closed. The client that
// asks has no context, and waits for exitGrace at most.
func (g *guest) cause() error { return g.causeWithin(context.Background(), exitGrace) }

// causeWithin returns nil when QEMU has not ended in that time.
func (g *guest) causeWithin(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-g.proc.done():
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return nil
	}
	text := fmt.Sprintf("QEMU ended with %v", g.proc.exit)
	if last := lastLine(g.runtime.Stderr); last != "" {
		text += ": " + last
	}
	for _, h := range g.proc.helpers {
		if what := h.failure(); what != "" {
			text += "; " + what
		}
	}
	return &endedError{text}
}

func lastLine(path string) string {
	data, err := tail.Last(path, 1024)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// Connect implements vm.Guest. QEMU greets before its devices exist; they do when Connect
// returns, and its display asks for the password.
func (g *guest) Connect(ctx context.Context) error {
	err := g.control.connect(ctx)
	if err == nil {
		err = g.settle(ctx)
	}
	var ended *endedError
	if errors.Is(err, errors.ErrQMPConnection) && !errors.As(err, &ended) {
		// On a busy host the connection is lost long before QEMU is seen to end.
		if cause := g.causeWithin(ctx, exitWait); cause != nil {
			err = errors.Join(err, cause)
		}
	}
	return errors.Wrap(errors.ErrQMPConnection, "connect to QEMU", g.name, err)
}

// settle does what needs QEMU's devices, and learns what only QEMU knows.
func (g *guest) settle(ctx context.Context) error {
	if err := g.secureDisplay(ctx); err != nil {
		return err
	}
	for _, path := range g.sockets {
		if err := makePrivate(path); err != nil {
			return err
		}
	}
	g.sockets = nil
	if err := g.setUpCards(ctx); err != nil {
		return err
	}
	terminals, err := g.terminalsOf(ctx, g.runtime.Args)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runtime.Terminals = terminals
	return nil
}

// Continue implements vm.Guest.
func (g *guest) Continue(ctx context.Context) error {
	_, err := g.control.Execute(ctx, "cont", nil)
	return err
}

// Release implements vm.Guest. Who waits in Connect or Dial gets an error.
func (g *guest) Release() error {
	g.release(net.ErrClosed)
	errs := []error{g.control.Close()}
	g.mu.Lock()
	conns, ports := slices.Collect(maps.Keys(g.conns)), g.ports
	g.ports = nil
	g.mu.Unlock()
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, g.b.letGo(g.proc), g.b.segments.leave(ports))...)
}
