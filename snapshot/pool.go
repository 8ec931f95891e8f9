package snapshot

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Pool keeps forks of one template ready: their state is loaded, they have an identity of their
// own, their agent has answered, and they run, so that their clocks are right whenever they are
// handed out. It is safe for concurrent use.
//
// An idle fork costs memory, and a little of a processor where it is emulated. Halting its
// CPUs would save that, and cost more when it is handed out: its clock would have to be set.
type Pool struct {
	forks    PoolForks
	template Template
	o        PoolOptions

	ctx  context.Context // ends when Close begins
	stop context.CancelFunc
	wg   sync.WaitGroup // one goroutine a fork, and one that pauses; begun under mu while not closed

	mu      sync.Mutex
	closed  bool
	ready   []*pooled // the one that waits longest first
	waiting []*getting
	making  int   // forks that are not ready yet
	out     int   // forks that were handed out and whose guests have not ended
	all     int   // forks that use memory: these, those that are ready, and those being removed
	failed  error // of the last fork that could not be made; nil after one that could
	misses  int   // how many in a row could not be made
	deaths  int   // how many in a row were made and died before they were handed out
	final   bool  // it makes no sense to try again
	pausing bool  // before the next attempt

	once     sync.Once
	closeErr []error // of forks that could not be removed while Close waited
}

// pooled is a fork of the pool.
type pooled struct {
	inst  vm.Instance
	guest vm.Guest
	life  context.Context // ends with the guest, or with the pool
	end   context.CancelFunc
	out   bool // it was handed out
}

// alive looks at the guest, too: that it has ended takes a moment to come about.
func (f *pooled) alive() bool {
	select {
	case <-f.guest.Done():
		return false
	default:
		return f.life.Err() == nil
	}
}

// getting is a Get that waits.
type getting struct{ got chan handed } // capacity 1

type handed struct {
	fork *pooled
	err  error
}

// NewPool makes a pool of forks of a template, and returns at once: the first forks are made in
// the background. The pool stays with this template, also if it is deleted and another gets its
// name. Close must be called.
//
// errors.ErrTemplateNotFound; errors.ErrInvalidConfiguration for options that make no sense.
func NewPool(ctx context.Context, forks PoolForks, template string, o PoolOptions) (*Pool, error) {
	if forks == nil {
		return nil, poolError(template, "there is nothing that makes forks", "give a Coordinator and its vm.Manager")
	}
	t, err := forks.Template(ctx, template)
	if err != nil {
		return nil, err
	}
	if o, err = o.complete(t); err != nil {
		return nil, err
	}
	p := &Pool{forks: forks, template: t, o: o}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx)) // the pool's life, ended by Close
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fill()
	return p, nil
}

// Get hands out a fork that is ready, or waits for the next one. The fork belongs to the caller,
// who stops and removes it. Those who wait are served in turn.
//
// When ctx ends it is errors.ErrWaitTimeout with ctx's error. If there is none and none can be
// made it is the error of the last attempt: errors.ErrTemplateNotFound, say. The pool goes on
// trying, with growing pauses, unless the template is gone or does not fit.
func (p *Pool) Get(ctx context.Context) (vm.Instance, error) {
	if ctx.Err() != nil {
		return vm.Instance{}, p.gaveUp(ctx, p.Status())
	}
	p.mu.Lock()
	fork, err := p.take()
	if fork != nil || err != nil {
		p.mu.Unlock()
		return hand(fork, err)
	}
	g := &getting{got: make(chan handed, 1)}
	p.waiting = append(p.waiting, g)
	p.fill()
	p.mu.Unlock()
	select {
	case h := <-g.got:
		return hand(h.fork, h.err)
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, g); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else if h := <-g.got; h.fork != nil { // served at the same moment
		return hand(h.fork, nil)
	}
	return vm.Instance{}, p.gaveUp(ctx, p.status())
}

func hand(fork *pooled, err error) (vm.Instance, error) {
	if err != nil {
		return vm.Instance{}, err
	}
	return fork.inst, nil
}

// take returns a fork that is ready, or why there can't be any. Neither: there can.
func (p *Pool) take() (*pooled, error) {
	if p.closed {
		return nil, p.closedError()
	}
	for len(p.ready) > 0 {
		fork := p.ready[0]
		p.ready = p.ready[1:]
		if fork.alive() {
			p.handOut(fork)
			p.fill()
			return fork, nil
		}
		p.died() // its goroutine finds that out as well, and removes it
	}
	if p.failed != nil && p.making == 0 {
		return nil, p.failed
	}
	return nil, nil
}

func (p *Pool) handOut(fork *pooled) {
	fork.out = true
	p.out++
	p.deaths = 0
}

// PoolStatus counts a pool's forks.
type PoolStatus struct {
	Ready     int   // can be handed out
	Making    int   // are being made
	HandedOut int   // were handed out, and their guests have not ended
	Waiting   int   // calls of Get that wait
	Err       error // why the last one could not be made; nil after one that could
}

// Status returns how the pool is now.
func (p *Pool) Status() PoolStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status()
}

func (p *Pool) status() PoolStatus {
	return PoolStatus{Ready: len(p.ready), Making: p.making, HandedOut: p.out, Waiting: len(p.waiting), Err: p.failed}
}

func (p *Pool) gaveUp(ctx context.Context, s PoolStatus) error {
	e := &errors.Error{Kind: errors.ErrWaitTimeout, Op: p.op(), Err: context.Cause(ctx),
		Msg: fmt.Sprintf("no fork was ready: %d are being made, %d are handed out", s.Making, s.HandedOut)}
	if p.o.Memory > 0 {
		e.Msg += fmt.Sprintf(", and %d fit into PoolOptions.Memory", p.o.Memory/p.o.PerFork)
		e.Hint = "remove forks when they are not needed any more, or raise PoolOptions.Memory"
	}
	return e
}

func (p *Pool) op() string { return "get a fork of template " + p.template.Name + " from its pool" }

func (p *Pool) closedError() error {
	return &errors.Error{Kind: errors.ErrSnapshot, Op: p.op(), Msg: "the pool was closed", Err: context.Canceled}
}

// Close ends and removes the forks that were not handed out, also those that are being made, and
// waits for that. Calls of Get that wait end with an error. Forks that were handed out go on. It
// is idempotent; it returns what could not be removed.
func (p *Pool) Close() error {
	p.once.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.refuse(p.closedError())
		p.mu.Unlock()
		p.stop()
	})
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.closeErr...)
}
