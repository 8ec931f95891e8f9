package snapshot

import (
	"context"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Pauses after forks that could not be made, or died at once: each is twice the one before.
const (
	poolPauseFirst = 100 * time.Millisecond
	poolPauseLast  = 30 * time.Second
)

// poolRemoveLimit bounds the removal of a fork, which needs only the host to answer.
const poolRemoveLimit = 30 * time.Second

// fill begins to make forks until enough are ready or being made, or the budget is spent. The
// pool must be locked.
func (p *Pool) fill() {
	parallel := p.o.Parallel
	if p.misses > 0 || p.deaths > 1 {
		parallel = 1 // to see whether it works again
	}
	for !p.closed && !p.final && !p.pausing && p.making < parallel &&
		len(p.ready)+p.making < p.o.Size+len(p.waiting) && p.o.room(p.all) {
		p.making++
		p.all++
		p.wg.Go(p.keep)
	}
}

// keep makes a fork, and watches over it until it is gone or the pool is closed.
func (p *Pool) keep() {
	fork, err := p.make()
	if err != nil {
		p.miss(err)
		return
	}
	defer fork.end()
	p.offer(fork)
	<-fork.life.Done()
	if p.drop(fork) {
		p.remove(fork.inst)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if fork.out {
		p.out--
	}
	p.all--
	p.fill()
}

// make returns a fork that is ready. When it fails nothing is left of it.
func (p *Pool) make() (*pooled, error) {
	inst, err := p.forks.Fork(p.ctx, p.template.Name, p.o.Fork...)
	if err != nil {
		return nil, err
	}
	if inst.Fork == nil || inst.Fork.ID != p.template.ID {
		p.remove(inst)
		return nil, &errors.Error{Kind: errors.ErrTemplateNotFound, Op: p.op(),
			Msg: "the template was deleted, and another one has its name", Hint: "make a new pool"}
	}
	live, err := p.forks.Live(p.ctx, inst.ID)
	if err != nil {
		p.remove(inst)
		return nil, err
	}
	life, end, err := p.forks.Guard(p.ctx, inst.ID)
	if err != nil {
		p.remove(inst)
		return nil, err
	}
	if p.o.WarmUp != nil {
		if err := p.o.WarmUp(life, inst); err != nil {
			end()
			p.remove(inst)
			return nil, errors.Wrap(errors.ErrSnapshot, "warm up fork", inst.Name, err)
		}
	}
	return &pooled{inst: inst, guest: live, life: life, end: end}, nil
}

// offer gives a new fork to the one who waits longest, or keeps it ready.
func (p *Pool) offer(fork *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making--
	p.failed, p.misses, p.final = nil, 0, false
	switch {
	case !fork.alive(): // it ended meanwhile, or the pool did
		p.died()
	case len(p.waiting) > 0:
		p.handOut(fork)
		p.waiting[0].got <- handed{fork: fork}
		p.waiting = p.waiting[1:]
	default:
		p.ready = append(p.ready, fork)
	}
	p.fill()
}

// drop takes a fork that has ended, or whose pool has, from those that are ready. It reports
// whether the fork is still the pool's.
func (p *Pool) drop(fork *pooled) (ours bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.ready, fork); i >= 0 {
		p.ready = slices.Delete(p.ready, i, i+1)
		if !p.closed {
			p.o.Logger.Warn("fork ended while it waited in its pool", "vm", fork.inst.Name, "error", context.Cause(fork.life))
			p.died()
		}
	}
	return !fork.out
}

// died counts a fork that ended before it was handed out. One is replaced at once; where each
// does, the pool must not burn the host.
func (p *Pool) died() {
	p.deaths++
	if p.deaths > 1 {
		p.pause(p.deaths - 1)
	}
}

// miss counts a fork that could not be made. Those who wait are told when there is none under
// way that they could get instead.
func (p *Pool) miss(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making--
	p.all--
	if p.closed {
		return
	}
	p.o.Logger.Warn("fork for a pool not made", "template", p.template.Name, "error", err)
	p.failed = err
	p.misses++
	p.final = errors.Is(err, errors.ErrTemplateNotFound) || errors.Is(err, errors.ErrTemplateMismatch)
	if p.making == 0 {
		p.refuse(err)
	}
	p.pause(p.misses)
}

// refuse ends all calls of Get that wait.
func (p *Pool) refuse(err error) {
	for _, g := range p.waiting {
		g.got <- handed{err: err}
	}
	p.waiting = nil
}

// pause holds up the next attempt, for the nth time in a row.
func (p *Pool) pause(nth int) {
	if p.pausing || p.closed || p.final {
		return
	}
	length := poolPauseLast
	if nth <= 8 {
		length = min(poolPauseFirst<<(nth-1), poolPauseLast)
	}
	p.pausing = true
	p.wg.Go(func() {
		timer := time.NewTimer(length)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ctx.Done():
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pausing = false
		p.fill()
	})
}

// remove ends a fork and forgets it. It goes on when the pool is closed: Close waits for it.
func (p *Pool) remove(inst vm.Instance) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), poolRemoveLimit)
	defer cancel()
	err := p.forks.Remove(ctx, inst.ID, vm.ForceRemove(), vm.DeleteImages())
	if err == nil || errors.Is(err, errors.ErrVMNotFound) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.closeErr = append(p.closeErr, err)
		return
	}
	p.o.Logger.Warn("fork of a pool not removed", "vm", inst.Name, "error", err)
}
