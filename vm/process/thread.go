package process

import (
	"runtime"
	"sync"
)

// thread runs functions on one OS thread that lives until stop.
//
// The kernel sends a parent-death signal when the thread that forked the child ends,
// not when its process does (prctl(2), PR_SET_PDEATHSIG). The Go runtime ends threads
// whose goroutine exits while locked to them; children must not be forked from one.
type thread struct {
	mu   sync.Mutex
	jobs chan func()
	done chan struct{}
}

// run runs fn on the thread, starting it if need be, and returns when fn has.
func (t *thread) run(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.jobs == nil {
		t.jobs, t.done = make(chan func()), make(chan struct{})
		go serve(t.jobs, t.done)
	}
	finished := make(chan struct{})
	t.jobs <- func() { defer close(finished); fn() }
	<-finished
}

func serve(jobs <-chan func(), done chan<- struct{}) {
	runtime.LockOSThread()
	defer close(done)
	defer runtime.UnlockOSThread()
	for job := range jobs {
		job()
	}
}

// stop ends the thread. No child that it forked may live.
func (t *thread) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.jobs == nil {
		return
	}
	close(t.jobs)
	<-t.done
	t.jobs = nil
}
