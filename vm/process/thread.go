package process

import (
	"runtime"
	"sync"

	"github.com/maqet/maqet/errors"
)

// errClosed is what everything that starts a process says after [Backend.Close].
var errClosed = errors.New("the backend is closed")

// thread runs functions on one OS thread that lives until stop. Its zero value is ready.
//
// The kernel sends a parent-death signal when the thread that forked the child ends,
// not when its process does (prctl(2), PR_SET_PDEATHSIG). The Go runtime ends threads
// whose goroutine exits while locked to them; children must not be forked from one.
type thread struct {
	mu      sync.Mutex
	jobs    chan func()
	done    chan struct{}
	stopped bool
}

// run runs fn on the thread, starting it if need be, and returns what fn does.
func (t *thread) run(fn func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return errClosed
	}
	if t.jobs == nil {
		t.jobs, t.done = make(chan func()), make(chan struct{})
		go serve(t.jobs, t.done)
	}
	result := make(chan error)
	t.jobs <- func() { result <- fn() }
	return <-result
}

func serve(jobs <-chan func(), done chan<- struct{}) {
	runtime.LockOSThread()
	defer close(done)
	defer runtime.UnlockOSThread()
	for job := range jobs {
		job()
	}
}

// stop ends the thread for good. No child that it forked may live: the runtime is free
// to end the thread at any time from now on.
func (t *thread) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.jobs == nil {
		return
	}
	close(t.jobs)
	<-t.done
	t.jobs = nil
}
