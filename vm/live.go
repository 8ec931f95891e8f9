package vm

import (
	"context"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/maqet/maqet/errors"
)

// liveSet is the cache of the guests that this process works with.
type liveSet struct {
	m       *Manager
	attachs singleflight.Group

	ctx      context.Context // ends with close; every guest's is made of it
	cancel   context.CancelFunc
	watching sync.WaitGroup // goroutines that watch guests; they begin within calls only

	mu     sync.Mutex
	guests map[string]*liveGuest
	starts map[*pendingStart]struct{}
	failed []error // of guests that could not be let go when close asked for it
}

// pendingStart is a start of this process that is under way.
type pendingStart struct {
	id     string
	cancel context.CancelCauseFunc
}

func newLiveSet(m *Manager) *liveSet {
	l := &liveSet{m: m, guests: map[string]*liveGuest{}, starts: map[*pendingStart]struct{}{}}
	// Not of the Manager's context: a start that Close cancels is undone first.
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// starting registers a start, so that Stop can cancel it; the result unregisters it.
func (l *liveSet) starting(id string, cancel context.CancelCauseFunc) func() {
	p := &pendingStart{id: id, cancel: cancel}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starts[p] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.starts, p)
	}
}

// cancelStart ends the starts of this process that are under way. Of several only one
// can win, but which is not known.
func (l *liveSet) cancelStart(inst Instance) {
	cause := &errors.Error{Kind: errors.ErrVMStart, Op: "start VM", VM: inst.Name, Msg: "it was stopped", Err: context.Canceled}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.starts {
		if p.id == inst.ID {
			p.cancel(cause)
		}
	}
}

// add begins to watch a guest and puts it into the cache. An earlier guest of the VM
// that is about to be let go loses its place.
func (l *liveSet) add(inst Instance, guest Guest, limits Timeouts) *liveGuest {
	lg := newLiveGuest(l.ctx, l.m, inst, guest, limits)
	l.mu.Lock()
	l.guests[inst.ID] = lg
	l.mu.Unlock()
	lg.watch()
	return lg
}

// drop forgets a guest that is let go.
func (l *liveSet) drop(lg *liveGuest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests[lg.id] == lg {
		delete(l.guests, lg.id)
	}
}

// release lets go of a guest.
func (l *liveSet) release(lg *liveGuest) {
	err := lg.guest.Release()
	switch {
	case err == nil:
	case l.ctx.Err() != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = append(l.failed, err)
	default:
		l.m.log.Debug("guest not released cleanly", "vm", lg.name, "error", err)
	}
}

// entry returns the guest with this ID, also one that has just gone and whose end is
// not recorded yet.
func (l *liveSet) entry(id string) *liveGuest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guests[id]
}

// cached returns the guest with this ID if this process works with it and it lives.
func (l *liveSet) cached(id string) *liveGuest {
	lg := l.entry(id)
	if lg == nil || gone(lg.guest) {
		return nil
	}
	return lg
}

func gone(g Guest) bool {
	select {
	case <-g.Done():
		return true
	default:
		return false
	}
}

// get returns the live guest of ref, attaching to it if need be.
func (l *liveSet) get(ctx context.Context, ref string) (*liveGuest, error) {
	if lg := l.cached(ref); lg != nil {
		return lg, nil
	}
	inst, err := l.m.store.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	if lg := l.cached(inst.ID); lg != nil {
		return lg, nil
	}
	if inst.State != Running && inst.State != Paused {
		// Perhaps the process that starts or stops it died, or others have started it; if
		// not, this changes nothing.
		if inst, err = l.m.settle(ctx, inst); err != nil {
			return nil, err
		}
	}
	if inst.unreachable() {
		return nil, errUnreachable("reach VM", inst)
	}
	if inst.State != Running && inst.State != Paused {
		return nil, notRunning(inst)
	}
	return l.attach(ctx, inst)
}

// attach connects to a recorded guest. When it is gone the record is mended.
func (l *liveSet) attach(ctx context.Context, inst Instance) (*liveGuest, error) {
	ch := l.attachs.DoChan(inst.ID, func() (any, error) {
		if lg := l.cached(inst.ID); lg != nil {
			return lg, nil
		}
		// Others may be waiting for it as well, so it ends with no caller's context.
		ctx, done, err := l.m.begin(context.WithoutCancel(ctx), "attach to VM")
		if err != nil {
			return nil, err
		}
		defer done()
		return l.connect(ctx, inst)
	})
	select {
	case <-ctx.Done():
		return nil, errors.Wrap(errors.ErrVMLifecycle, "attach to VM", inst.Name, context.Cause(ctx))
	case res := <-ch:
		if res.Err != nil {
			return nil, l.explain(ctx, inst, res.Err)
		}
		return res.Val.(*liveGuest), nil
	}
}

func (l *liveSet) connect(ctx context.Context, inst Instance) (*liveGuest, error) {
	backend, err := l.m.backend(inst)
	if err != nil {
		return nil, err
	}
	limits := backend.Timeouts(ctx, inst.Config)
	ctx, cancel := context.WithTimeout(ctx, limits.Launch.std())
	defer cancel()
	guest, err := backend.Attach(ctx, inst)
	if err != nil {
		return nil, err
	}
	lg := l.add(inst, guest, limits)
	lg.setUp()
	lg.lookForDevices(inst)
	return lg, nil
}

// explain mends the record of a guest that was found gone, and says how it ended.
func (l *liveSet) explain(ctx context.Context, inst Instance, err error) error {
	if !errors.Is(err, errors.ErrVMNotRunning) {
		return err
	}
	now, settleErr := l.m.settle(ctx, inst)
	if settleErr != nil || now.State.Live() {
		return err
	}
	return notRunning(now)
}

func notRunning(inst Instance) error {
	e := &errors.Error{Kind: errors.ErrVMNotRunning, Op: "reach VM", VM: inst.Name, Msg: "it is " + string(inst.State)}
	if inst.Reason != "" {
		e.Msg += " (" + inst.Reason + ")"
	}
	return e
}

// close lets go of all guests. No call may be under way.
func (l *liveSet) close() error {
	l.cancel()
	l.watching.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.failed...)
}
