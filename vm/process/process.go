package process

import (
	"context"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// errEnded is why what waits for something of a guest stops waiting.
var errEnded = errors.New("its QEMU has ended")

// process is a QEMU, or a helper of one, that is watched until it ends or is let go. Its methods are safe
// for concurrent use.
type process struct {
	handle *proc.Handle
	// ended is done when the process has ended and, where it is a child of this one, is
	// reaped; its cause is errEnded.
	ended context.Context
	exit  errors.ExitStatus // set before ended is done
	wg    sync.WaitGroup
	// helpers run for it and are gone before ended is done; those that end before it does
	// are told to lost.
	helpers   []*helper
	lost      chan vm.Helper
	attending sync.WaitGroup
}

// watch begins to watch the process of handle and owns handle, and the helpers, from now
// on. When the process ends it ends them.
func watch(handle *proc.Handle, helpers ...*helper) *process {
	ended, end := context.WithCancelCause(context.Background())
	p := &process{handle: handle, ended: ended, helpers: helpers, lost: make(chan vm.Helper, len(helpers))}
	for _, h := range helpers {
		p.attending.Go(func() { p.attend(h) })
	}
	p.wg.Go(func() {
		if p.handle.Wait(context.Background()) != nil {
			return // let go
		}
		p.exit = exitStatus(p.handle.Reap())
		_ = dismiss(p.helpers) // what did not end can only be looked for again, by Clean
		end(errEnded)
		_ = p.handle.Close() // of no more use; who was let go while it ran is not asked to
	})
	return p
}

// exitStatus translates what wait(2) says. ok is false for a process of another parent.
func exitStatus(ws unix.WaitStatus, ok bool) errors.ExitStatus {
	switch {
	case !ok:
		return errors.ExitStatus{}
	case ws.Signaled():
		return errors.ExitStatus{Known: true, Signal: unix.SignalName(ws.Signal())}
	default:
		return errors.ExitStatus{Known: true, Code: ws.ExitStatus()}
	}
}

// signal sends sig; a process that is gone, or was let go, is an
// errors.ErrVMNotRunning.
func (p *process) signal(sig unix.Signal) error {
	err := p.handle.Signal(sig)
	if errors.Is(err, proc.ErrGone) || errors.Is(err, os.ErrClosed) {
		return errors.Wrap(errors.ErrVMNotRunning, "send "+unix.SignalName(sig), "", err)
	}
	return err
}

// close lets go of the process and its helpers without ending them, and waits for the
// goroutines that watched them.
func (p *process) close() error {
	errs := []error{p.handle.Close()}
	p.wg.Wait()
	for _, h := range p.helpers {
		errs = append(errs, h.close())
	}
	p.attending.Wait()
	return errors.Join(errs...)
}

func (p *process) done() <-chan struct{} { return p.ended.Done() }

func (p *process) gone() bool { return p.ended.Err() != nil }

// identity returns what to record of the process.
func (p *process) identity() vm.Process { return vm.Process(p.handle.ID()) }
