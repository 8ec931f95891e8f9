package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// helperPlan is a program that is to run for a guest beside QEMU, such as virtiofsd.
//
// It is connected with QEMU by a socket that exists before either of them, that has no
// name by which others could connect, and of which this process keeps nothing: when QEMU
// is gone, however it went and whoever else lives, the helper's end is closed, and a
// helper that serves one client ends. A plan has to ask its program for that.
type helperPlan struct {
	name string // the program, and for what, as the user knows it: "virtiofsd share0"
	log  string // the name of its log, of letters, digits and dashes; one of a kind in a VM
	// args is its command line; args[0] is the program's path. Its end of the connection is
	// descriptor helperFD, what open returns comes behind it.
	args []string
	// listens says that it takes a listening socket, of which it accepts one connection,
	// instead of a connected one.
	listens bool
	// open returns more descriptors for it to inherit, or an error and none; nil: there are
	// none.
	open func(ctx context.Context) ([]*os.File, error)
}

// helperFD is the descriptor of a helper's end of its connection with QEMU.
const helperFD = firstFD

// helper adds a helper to the guest and returns the number of QEMU's end of the
// connection, a connected stream socket.
func (b *builder) helper(plan helperPlan) string { return b.inherit(inherited{helper: &plan}) }

// helper is a program that runs for a guest, or has.
type helper struct {
	*process
	name      string
	log       string
	dismissed atomic.Bool // it was ended because it was of no more use
}

// start executes a helper and returns QEMU's end of the connection.
func (c *crew) start(ctx context.Context, plan helperPlan, f files) (end *os.File, err error) {
	var open []*os.File
	defer func() {
		for _, file := range open {
			err = errors.Join(err, file.Close())
		}
		if err != nil && end != nil {
			err = errors.Join(err, end.Close())
			end = nil
		}
	}()
	log := filepath.Join(f.logDir, helperLog(plan.log))
	stderr, err := createLog(log)
	if err != nil {
		return nil, err
	}
	open = append(open, stderr)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	open = append(open, null)
	connect := connectedPair
	if plan.listens {
		connect = func() (*os.File, *os.File, error) { return listeningPair(f.dir) }
	}
	end, theirs, err := connect()
	if err != nil {
		return nil, err
	}
	open = append(open, theirs)
	if plan.open != nil {
		more, err := plan.open(ctx)
		if err != nil {
			return end, fmt.Errorf("%s: %w", plan.name, err)
		}
		open = append(open, more...)
	}
	fds := []uintptr{null.Fd(), stderr.Fd(), stderr.Fd()}
	for _, file := range open[2:] {
		fds = append(fds, file.Fd())
	}
	handle, err := c.b.execute(plan.args, fds, c.ephemeral, helperMark+"="+c.vm)
	if err != nil {
		return end, err
	}
	c.helpers = append(c.helpers, &helper{process: watch(handle), name: plan.name, log: log})
	return end, nil
}

// connectedPair returns two ends of a connection.
func connectedPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "helper"), nil
}

// linkSocket is the name that a listening socket has for a moment; no channel has it, nor
// a longer one.
const linkSocket = "link.sock"

// listeningPair returns a listening socket, which nobody else can connect to, and a
// connection that waits to be accepted from it.
func listeningPair(dir string) (ours, theirs *os.File, err error) {
	l, err := listenOne(filepath.Join(dir, linkSocket))
	if err != nil {
		return nil, nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		err = os.NewSyscallError("socket", err)
	} else {
		ours = os.NewFile(uintptr(fd), "helper")
		err = os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrUnix{Name: l.path}))
	}
	err = errors.Join(err, os.Remove(l.path))
	if err == nil {
		return ours, l.file, nil
	}
	if ours != nil {
		err = errors.Join(err, ours.Close())
	}
	return nil, nil, errors.Join(err, l.file.Close())
}

// helperLog is the name of a helper's log file.
func helperLog(name string) string { return helperPrefix + name + ".log" }

const helperPrefix = "helper-"

func isHelperLog(name string) bool {
	return strings.HasPrefix(name, helperPrefix) && strings.HasSuffix(name, ".log")
}

// lossGrace is how long QEMU may take to be seen ending after its helper: the kernel closes
// its end of the connection some moments before.
const lossGrace = 100 * time.Millisecond

// attend waits for a helper's end and tells p.lost of it, unless it is the end of p as well.
func (p *process) attend(h *helper) {
	if h.handle.Wait(p.ended) != nil {
		return // that of p, or it is let go
	}
	<-h.done() // reaped
	ctx, cancel := context.WithTimeout(p.ended, lossGrace)
	defer cancel()
	if err := p.handle.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return // p has ended, or is let go
	}
	lost := h.record()
	lost.Exit = &h.exit
	p.lost <- lost
}

// record returns what another process needs to know of a helper.
func (h *helper) record() vm.Helper {
	return vm.Helper{Name: h.name, Process: h.identity(), Log: h.log}
}

// holdHelpers takes hold of recorded helpers that live still. With an error, which says that
// one of them may, it holds none.
func holdHelpers(list []vm.Helper) (held []*helper, err error) {
	for _, r := range list {
		handle, err := proc.Open(proc.ID(r.Process))
		if errors.Is(err, proc.ErrGone) {
			continue
		}
		if err != nil {
			for _, h := range held {
				err = errors.Join(err, h.close())
			}
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		held = append(held, &helper{process: watch(handle), name: r.Name, log: r.Log})
	}
	return held, nil
}

// failure says how a helper failed, empty when it has not, or was ended here: one that
// served its client to the end exits with 0.
func (h *helper) failure() string {
	if h.dismissed.Load() || !h.gone() || !h.exit.Known || h.exit == (errors.ExitStatus{Known: true}) {
		return ""
	}
	text := fmt.Sprintf("%s ended with %v", h.name, h.exit)
	if last := lastLine(h.log); last != "" {
		text += ": " + last
	}
	return text
}

const (
	// helperGrace is how long helpers may take to end by themselves when QEMU is gone; they
	// need about a millisecond.
	helperGrace = 200 * time.Millisecond
	// helperKill is how long a killed helper may take to be gone. One that waits for a
	// broken disk or server can't be killed until that answers.
	helperKill = 2 * time.Second
)

// dismiss ends helpers whose QEMU is gone, and lets go of them.
func dismiss(helpers []*helper) error {
	if len(helpers) == 0 {
		return nil
	}
	wait(helpers, helperGrace)
	for _, h := range helpers {
		if !h.gone() {
			h.dismissed.Store(true)
			_ = h.signal(unix.SIGKILL) // an error means that it is gone
		}
	}
	wait(helpers, helperKill)
	var errs []error
	for _, h := range helpers {
		if !h.gone() {
			errs = append(errs, fmt.Errorf("%s (process %d) can't be killed", h.name, h.identity().PID))
		}
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// wait waits until all helpers are gone, for at most d.
func wait(helpers []*helper, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, h := range helpers {
		select {
		case <-h.done():
		case <-timer.C:
			return
		}
	}
}
