package main

import (
	"sync"
	"syscall"
	"unsafe"
)

// reaper starts and reaps every child. As the first process init is handed all
// orphans, so it waits for any child; nobody else waits, so that no status is
// taken from the one who needs it.
type reaper struct {
	mu       sync.Mutex
	children map[int]*process
	changed  *sync.Cond // children has changed
	applets  applets
}

// process is a child that was started here.
type process struct {
	reaper *reaper
	pid    int
	done   chan struct{}      // closed when it has ended
	status syscall.WaitStatus // read after done
}

func newReaper() *reaper {
	r := &reaper{children: map[int]*process{}}
	r.changed = sync.NewCond(&r.mu)
	return r
}

// start forks and executes. The child is known before its end can be noticed.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	p := &process{reaper: r, pid: pid, done: make(chan struct{})}
	r.children[pid] = p
	r.changed.Broadcast()
	return p, nil
}

// run reaps until the end of the guest.
func (r *reaper) run() {
	for {
		pid, err := nextDead()
		if err == syscall.ECHILD {
			r.mu.Lock()
			// Without children there are no descendants either that could
			// become ours: wait for the next start.
			if len(r.children) == 0 {
				r.changed.Wait()
			}
			r.mu.Unlock()
			continue
		}
		if err == nil {
			r.reap(pid)
		}
	}
}

// reap takes a dead child's status. It was a zombie up to here, and from here
// on is not among the children any more: kill can't hit another's process.
func (r *reaper) reap(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return // a child that failed to exec: ForkExec has reaped it
	}
	if p := r.children[pid]; p != nil {
		delete(r.children, pid)
		r.changed.Broadcast()
		p.status = status
		close(p.done)
	}
}

// killGroup kills the process and its group unless it has ended.
func (p *process) killGroup() {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.children[p.pid] == p {
		syscall.Kill(-p.pid, syscall.SIGKILL)
	}
}

// nextDead waits until a child is dead and leaves it so.
func nextDead() (pid int, err error) {
	const (
		pAll        = 0
		siginfoSize = 128
		pidOffset   = 16 // si_pid: after si_signo, si_errno, si_code and padding
	)
	var info [siginfoSize / 8]uint64
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pAll, 0, uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), pidOffset))), nil
	}
}
