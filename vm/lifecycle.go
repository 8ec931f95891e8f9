package vm

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
)

// lifecycle starts VMs.
type lifecycle struct{ m *Manager }

// start is one start under way: what its steps hand on to each other.
type start struct {
	m       *Manager
	opts    startOptions
	backend Backend
	host    string // what Instance.Host becomes
	former  string // what it was, if that was another backend
	seq     sequence
	limits  Timeouts

	inst Instance // the record as last written
	last Runtime  // of the run before
	lock *flock.Lock
	spec LaunchSpec
	live *liveGuest
	from Origin // what a fork is started from; nil: nothing
}

func (l *lifecycle) start(ctx context.Context, ref string, opts []StartOption) (_ Instance, err error) {
	s := &start{m: l.m}
	for _, o := range opts {
		o(&s.opts)
	}
	if len(s.opts.conditions) == 0 {
		s.opts.conditions = s.opts.defaults
	}
	s.seq.progress = s.opts.progress
	inst, err := l.m.store.Get(ctx, ref)
	if err != nil {
		return Instance{}, err
	}
	s.inst = inst
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer l.m.live.starting(inst.ID, cancel)()

	defer func() { err = errors.Join(err, s.closeOrigin()) }()
	failed, err := s.seq.run(ctx, s.steps())
	if err == nil {
		err = s.finish(ctx)
		failed = s.seq.steps[len(s.seq.steps)-1].Name
	}
	if err != nil {
		return s.fail(ctx, failed, err)
	}
	s.m.log.InfoContext(ctx, "VM started", "vm", s.inst.Name, "took", time.Since(s.seq.steps[0].Started))
	return s.inst, s.unlock()
}

func (s *start) steps() []step {
	steps := []step{
		{StepValidate, s.validate},
		{StepLock, s.acquire},
		{StepImages, s.images},
		{StepLaunch, s.launch},
		{StepHandshake, s.handshake},
	}
	switch {
	case s.opts.cold:
	case s.inst.Restore != "":
		steps = append(steps, step{StepRestore, s.restore})
	case s.forks():
		steps = append(steps, step{StepRestore, s.resumeFork})
	}
	if s.opts.paused {
		return steps
	}
	steps = append(steps, step{StepContinue, s.resume})
	if s.forks() && !s.inst.Fork.Alike {
		steps = append(steps, step{StepIdentity, s.settleFork})
	}
	return append(steps, step{StepReady, s.ready})
}

func (s *start) validate(ctx context.Context) (func(context.Context) error, error) {
	inst, err := s.m.settle(ctx, s.inst)
	if err != nil {
		return nil, err
	}
	s.inst = inst
	if inst.unreachable() {
		return nil, errUnreachable("start VM", inst)
	}
	if err := startable(inst); err != nil {
		return nil, err
	}
	if err := inst.Config.Validate(); err != nil {
		return nil, err
	}
	if s.host, err = s.m.place(ctx, inst); err != nil {
		return nil, err
	}
	if s.former = ""; inst.Host != s.host {
		s.former = inst.Host
	}
	s.inst.Host = s.host // recorded with the state
	if s.backend, err = s.m.backend(s.inst); err != nil {
		return nil, err
	}
	if err := s.checkFork(); err != nil {
		return nil, err
	}
	if err := s.backend.Check(ctx, inst.ID, inst.Config); err != nil {
		return nil, err
	}
	s.limits = s.backend.Timeouts(ctx, inst.Config)
	return nil, nil
}

func startable(inst Instance) error {
	if inst.State.CanBecome(Starting) {
		return nil
	}
	return &errors.TransitionError{Kind: errors.ErrVMAlreadyRunning, VM: inst.Name, Op: "start", State: string(inst.State)}
}

// acquire makes this process the one that starts the VM: first by the lock, which
// another start or stop would hold, then by the state.
func (s *start) acquire(ctx context.Context) (func(context.Context) error, error) {
	lock, err := s.claim(ctx)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.mark(ctx); err != nil {
		s.lock = nil
		s.m.locks.leave(lock, errors.Is(err, errors.ErrVMNotFound))
		return nil, err
	}
	return nil, nil
}

// mark writes the state Starting, once the lock is held. A record that changed since it
// was checked is checked again.
func (s *start) mark(ctx context.Context) error {
	return s.m.states.retry(ctx, s.inst.ID, func(now Instance) error {
		if now.Version != s.inst.Version {
			s.inst = now
			if _, err := s.validate(ctx); err != nil {
				return err
			}
		}
		next, err := s.m.states.move(ctx, s.inst, Starting, "", func(i *Instance) {
			i.Owner, i.Run, i.Steps, i.Runtime, i.Host = s.m.self, i.Version, nil, Runtime{}, s.host
		})
		if err == nil {
			s.inst, s.last = next, s.inst.Runtime
			s.m.mine.Store(next.ID, nil)
		}
		return err
	})
}

// claimPause is how long to wait for a lock that is about to be free: an operation
// that has recorded its end, but not let go yet. A lock that becomes free is no event.
const claimPause = 5 * time.Millisecond

// claim takes the VM's lock. While somebody else holds it the state tells whether that
// is a start, which has won, or an operation that is just ending.
func (s *start) claim(ctx context.Context) (*flock.Lock, error) {
	for {
		lock, err := s.m.locks.try(s.inst.ID)
		if err == nil {
			return lock, nil
		}
		if !errors.Is(err, flock.ErrHeld) {
			return nil, errors.Wrap(errors.ErrDatabaseLock, "lock VM", s.inst.Name, err)
		}
		now, err := s.m.store.Get(ctx, s.inst.ID)
		if err != nil {
			return nil, err
		}
		if err := startable(now); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(claimPause):
		}
	}
}

func (s *start) unlock() error {
	err := s.lock.Unlock()
	s.lock = nil
	return err
}

func (s *start) images(ctx context.Context) (func(context.Context) error, error) {
	if err := s.openOrigin(ctx); err != nil {
		return nil, err
	}
	boot, err := s.bootFiles(ctx)
	if err != nil {
		return nil, err
	}
	// What an earlier run left, if nobody could clear it away.
	left := s.inst
	left.Runtime = s.last
	s.abandon(ctx, left)
	if err := s.backend.Clean(ctx, left); err != nil {
		return nil, err
	}
	if err := s.recover(ctx); err != nil {
		return nil, err
	}
	keeper := s.m.imagesOf(s.backend)
	images, undoImages, err := keeper.prepare(ctx, s.inst)
	if err != nil {
		return nil, err
	}
	undo := func(ctx context.Context) error {
		return errors.Join(keeper.unseed(ctx, s.inst), undoImages(ctx))
	}
	seed, err := s.seed(ctx)
	if err != nil {
		return nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
	}
	nvram, undoState, err := s.m.state.prepare(ctx, s.inst, boot.UEFI, s.parts().NVRAM)
	if err != nil {
		return nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
	}
	s.spec = LaunchSpec{ID: s.inst.ID, Config: s.inst.Config, Boot: boot, Images: images, Seed: seed,
		NVRAM: nvram, StateDir: s.m.state.path(s.inst.ID), Plugged: s.inst.layeredPlugged(), Unplugged: s.inst.Unplugged, Incoming: s.incoming(), Restore: s.restoreFrom()}
	return func(ctx context.Context) error { return errors.Join(undoState(ctx), undo(ctx)) }, nil
}

func (s *start) launch(ctx context.Context) (func(context.Context) error, error) {
	guest, err := s.backend.Launch(ctx, s.spec)
	if err != nil {
		return nil, err
	}
	// Watched from here on: no event is missed, and an exit is noticed.
	s.live = s.m.live.add(s.inst, guest, s.limits)
	undo := func(ctx context.Context) error { return s.m.destroyer.kill(ctx, s.backend, s.live) }
	next, err := s.m.states.amend(ctx, s.inst, func(i *Instance) {
		i.Runtime = guest.Runtime()
		i.Runtime.NVRAM, i.Runtime.Seed = s.spec.NVRAM, s.spec.Seed
	})
	if err != nil {
		return undo, err
	}
	s.inst = next
	return undo, nil
}

func (s *start) handshake(ctx context.Context) (func(context.Context) error, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.limits.Launch))
	defer cancel()
	ctx, stop := s.live.guard(ctx)
	defer stop()
	if err := s.live.guest.Connect(ctx); err != nil {
		return nil, causeOf(ctx, err)
	}
	return nil, causeOf(ctx, s.learn(ctx))
}

// learn records what only a QEMU that answers knows.
func (s *start) learn(ctx context.Context) error {
	rt := s.live.guest.Runtime()
	if len(rt.Terminals) == 0 && len(rt.Forwards) == 0 {
		return nil
	}
	return s.write(ctx, func(now Instance) (Instance, error) {
		return s.m.states.amend(ctx, now, func(i *Instance) {
			i.Runtime.Terminals, i.Runtime.Forwards = rt.Terminals, rt.Forwards
		})
	})
}

// write changes the record of a guest that runs. It may have changed meanwhile: a device
// was plugged, or a helper has ended.
func (s *start) write(ctx context.Context, change func(now Instance) (Instance, error)) error {
	return s.m.states.retry(ctx, s.inst.ID, func(now Instance) error {
		next, err := change(now)
		if err == nil {
			s.inst = next
		}
		return err
	})
}

func (s *start) resume(ctx context.Context) (func(context.Context) error, error) {
	s.live.sign() // the silence counts from here
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.limits.Launch))
	defer cancel()
	ctx, stop := s.live.guard(ctx)
	defer stop()
	return nil, causeOf(ctx, s.live.guest.Continue(ctx))
}

func (s *start) ready(ctx context.Context) (func(context.Context) error, error) {
	if len(s.opts.conditions) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.limits.Ready))
	defer cancel()
	ctx, stop := s.live.guard(ctx)
	defer stop()
	group, gctx := errgroup.WithContext(ctx)
	for _, c := range s.opts.conditions {
		group.Go(func() error {
			if err := c.Wait(gctx, s.inst.ID); err != nil {
				return &errors.Error{Op: "wait until " + c.String(), Err: err}
			}
			return nil
		})
	}
	err := causeOf(ctx, group.Wait())
	if err == nil {
		s.live.setUp()
		return nil, nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Wrap(errors.ErrWaitTimeout, "", "", err)
	}
	return nil, err
}

// causeOf prefers the reason why ctx ended, such as a panic, to the error that its
// end produced.
func causeOf(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, context.Canceled) && errors.Is(err, context.Canceled) {
		return err // says more about what was waited for
	}
	return cause
}

// finish writes the state that the start has reached.
func (s *start) finish(ctx context.Context) error {
	to, reason := Running, ReasonStarted
	if s.opts.paused {
		to = Paused
	}
	return s.write(ctx, func(now Instance) (Instance, error) {
		return s.m.states.move(ctx, now, to, reason, func(i *Instance) {
			i.Steps, i.Restore, i.ImagesKept = s.seq.steps, "", false
			if i.Fork != nil {
				i.Fork.Resume = i.Config.startedAnew()
			}
		})
	})
}
