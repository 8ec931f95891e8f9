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

	mu     sync.Mutex
	guests map[string]*liveGuest
	starts map[string]context.CancelCauseFunc // starts under way, by ID
	closed bool
}

func newLiveSet(m *Manager) *liveSet {
	return &liveSet{m: m, guests: map[string]*liveGuest{}, starts: map[string]context.CancelCauseFunc{}}
}

// starting registers a start, so that Stop can cancel it; the result unregisters it.
func (l *liveSet) starting(id string, cancel context.CancelCauseFunc) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.starts[id]; ok {
		return func() {} // a second start, which is about to be refused
	}
	l.starts[id] = cancel
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.starts, id)
	}
}

// cancelStart ends a start of this process that is under way.
func (l *liveSet) cancelStart(id string, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cancel, ok := l.starts[id]; ok {
		cancel(cause)
	}
}

// add begins to watch a guest and puts it into the cache.
func (l *liveSet) add(inst Instance, guest Guest, limits Timeouts) *liveGuest {
	lg := newLiveGuest(l.m, inst, guest, limits)
	l.mu.Lock()
	l.guests[inst.ID] = lg
	closed := l.closed
	l.mu.Unlock()
	lg.watch()
	if closed {
		lg.cancel()
	}
	return lg
}

// drop forgets a guest that is gone.
func (l *liveSet) drop(lg *liveGuest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests[lg.id] == lg {
		delete(l.guests, lg.id)
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
	if inst.State == Starting || inst.State == Stopping {
		// Perhaps the process that did it died; if it lives, this changes nothing.
		if inst, err = l.m.settle(ctx, inst); err != nil {
			return nil, err
		}
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
		return l.connect(context.WithoutCancel(ctx), inst)
	})
	select {
	case <-ctx.Done():
		return nil, errors.Wrap(errors.ErrVMNotRunning, "attach to VM", inst.Name, context.Cause(ctx))
	case res := <-ch:
		if res.Err != nil {
			return nil, l.explain(ctx, inst, res.Err)
		}
		return res.Val.(*liveGuest), nil
	}
}

func (l *liveSet) connect(ctx context.Context, inst Instance) (*liveGuest, error) {
	backend, err := l.m.backend(inst.Config)
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

// close lets go of all guests.
func (l *liveSet) close() error {
	l.mu.Lock()
	l.closed = true
	guests := make([]*liveGuest, 0, len(l.guests))
	for _, lg := range l.guests {
		guests = append(guests, lg)
	}
	l.guests = map[string]*liveGuest{}
	l.mu.Unlock()
	var errs []error
	for _, lg := range guests {
		errs = append(errs, lg.release())
	}
	return errors.Join(errs...)
}
