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

// process is a QEMU that is watched until it ends. Done is closed after it was reaped,
// where it is a child of this process.
type process struct {
	handle *proc.Handle
	done   chan struct{}
	exit   errors.ExitStatus // set before done is closed
	wg     sync.WaitGroup
}

// watch begins to watch the process of handle and owns handle from now on.
func watch(handle *proc.Handle) *process {
	p := &process{handle: handle, done: make(chan struct{})}
	p.wg.Go(func() {
		if p.handle.Wait(context.Background()) != nil {
			return // let go
		}
		p.exit = exitStatus(p.handle.Reap())
		close(p.done)
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

// signal sends sig; a process that is gone is an errors.ErrVMNotRunning.
func (p *process) signal(sig unix.Signal) error {
	err := p.handle.Signal(sig)
	if errors.Is(err, proc.ErrGone) || errors.Is(err, os.ErrClosed) {
		return errors.Wrap(errors.ErrVMNotRunning, "send "+unix.SignalName(sig), "", err)
	}
	return err
}

// kill ends the process and waits until it is reaped.
func (p *process) kill() {
	if p.signal(unix.SIGKILL) == nil {
		<-p.done
	}
}

// close lets go of the process without ending it.
func (p *process) close() error {
	err := p.handle.Close()
	p.wg.Wait()
	return err
}

func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// identity returns what to record of the process.
func (p *process) identity() vm.Process { return vm.Process(p.handle.ID()) }
