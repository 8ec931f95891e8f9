package vm

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/tail"
	"github.com/maqet/maqet/qmp"
)

// liveGuest watches one guest and keeps its record true.
type liveGuest struct {
	m      *Manager
	id     string
	name   string
	run    int64 // as the record has it
	guest  Guest
	limits Timeouts

	ctx    context.Context // ends when the guest is gone, or let go
	cancel context.CancelFunc
	// unrecorded ends when an operation of this process has recorded the guest's end, so
	// that nobody else need.
	unrecorded context.Context
	recorded   context.CancelFunc
	wg         sync.WaitGroup // the goroutines besides follow's

	lastSign atomic.Int64 // ns since 1970 of the last sign of life
	up       atomic.Bool  // it was up once: silence means nothing any more
	halted   atomic.Bool  // its CPUs don't run, or it is being saved or loaded: it can't but be silent

	mu     sync.Mutex
	cause  error         // why it is given up, if it is
	doomed chan struct{} // closed when cause is set
	why    string        // what QEMU said of its shutdown
	panic  string        // what was seen of the guest's panic
	barked string        // what its watchdog did last, and nothing has followed from yet

	asked     chan chan struct{} // by who waits until all events are handled; see catchUp
	panicOnce sync.Once
	told      chan struct{} // closed when QEMU's last events have been read
}

func newLiveGuest(ctx context.Context, m *Manager, inst Instance, guest Guest, limits Timeouts) *liveGuest {
	lg := &liveGuest{m: m, id: inst.ID, name: inst.Name, run: inst.Run, guest: guest, limits: limits, doomed: make(chan struct{}), told: make(chan struct{}), asked: make(chan chan struct{})}
	lg.ctx, lg.cancel = context.WithCancel(ctx)
	lg.unrecorded, lg.recorded = context.WithCancel(lg.ctx)
	lg.sign()
	return lg
}

func (g *liveGuest) sign()  { g.lastSign.Store(time.Now().UnixNano()) }
func (g *liveGuest) setUp() { g.up.Store(true) }

// owns reports whether a record, which may have changed since, is of this guest.
func (g *liveGuest) owns(inst Instance) bool {
	return inst.held() && inst.Run == g.run && inst.Runtime.Process == g.guest.Runtime().Process
}

// watch starts the goroutines that follow the guest until it is gone or released.
func (g *liveGuest) watch() {
	sub := g.guest.QMP().Subscribe()
	if path := g.guest.Runtime().Console; path != "" {
		g.wg.Go(func() { g.listen(path) })
	}
	if w, ok := g.guest.(HelperWatcher); ok {
		g.wg.Go(func() { g.attend(w.LostHelpers()) })
	}
	if d, ok := g.guest.(Distant); ok {
		g.wg.Go(func() { g.reach(d.Reach()) })
	}
	g.m.live.watching.Go(func() {
		g.follow(sub)
		g.cancel()
		g.wg.Wait()
		g.m.live.drop(g)
		g.m.live.release(g)
	})
}

func (g *liveGuest) follow(sub *qmp.Subscription) {
	defer sub.Close()
	var once sync.Once
	told := func() { once.Do(func() { close(g.told) }) }
	defer told()
	events := sub.C()
	for {
		select {
		case <-g.ctx.Done():
			return
		case ev, ok := <-events:
			if !ok {
				events = nil // the channel ended; the process is still watched
				continue
			}
			g.event(ev)
		case done := <-g.asked:
			g.handle(events)
			close(done)
		case <-g.guest.Done():
			g.drain(events)
			g.lastLook()
			told()
			g.ended()
			return
		}
	}
}

// handle handles the events that have come.
func (g *liveGuest) handle(events <-chan qmp.Event) {
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				return
			}
			g.event(ev)
		default:
			return
		}
	}
}

// catchUp returns when all events are handled that came before an answer that the caller has
// got from QEMU, or when the guest is gone or ctx ends.
func (g *liveGuest) catchUp(ctx context.Context) {
	done := make(chan struct{})
	select {
	case g.asked <- done:
		<-done // soon: it waits for the store only
	case <-g.guest.Done():
	case <-g.ctx.Done():
	case <-ctx.Done():
	}
}

// lastWords bounds the wait for the events that QEMU sent just before it ended. They are
// in the socket already, and its end follows them.
const lastWords = time.Second

// drain handles those events, SHUTDOWN above all. events is nil when the control channel
// has ended already.
func (g *liveGuest) drain(events <-chan qmp.Event) {
	if events == nil {
		return
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				return
			}
			g.event(ev)
		case <-timer.C:
			return
		case <-g.ctx.Done():
			return
		}
	}
}

// event follows QEMU's own account (QEMU QMP Reference Manual, "VM run state").
func (g *liveGuest) event(ev qmp.Event) {
	switch ev.Name {
	case "STOP":
		g.halted.Store(true)
		g.shift(Running, Paused, g.pauseReason())
	case "RESUME":
		g.sign() // the silence counts from here
		g.halted.Store(false)
		g.shift(Paused, Running, ReasonResumed)
	case "SHUTDOWN":
		var data struct {
			Guest  bool   `json:"guest"`
			Reason string `json:"reason"`
		}
		if ev.Decode(&data) == nil {
			g.mu.Lock()
			g.why = data.Reason
			g.mu.Unlock()
		}
	case "GUEST_PANICKED":
		g.panicked("QEMU reports a panic of the guest: " + string(ev.Data))
	case "WATCHDOG":
		g.sign()
		g.watchdog(ev)
	case "VSERPORT_CHANGE":
		g.sign()
		var data struct {
			Open bool `json:"open"`
		}
		if ev.Decode(&data) == nil && data.Open {
			g.setUp()
		}
	case "DEVICE_DELETED":
		g.sign()
		g.unplugged(ev)
	default:
		g.sign()
	}
}

// shift records that the guest went from one state to another by itself or through
// QMP. In any other state an operation is under way that records what it does.
func (g *liveGuest) shift(from, to State, reason string) {
	err := g.m.states.retry(g.ctx, g.id, func(inst Instance) error {
		if inst.State != from || g.m.live.entry(g.id) != g { // the VM's guest is another one since it moved
			return nil
		}
		_, err := g.m.states.move(g.ctx, inst, to, reason, nil)
		return err
	})
	if err != nil && g.ctx.Err() == nil {
		g.m.log.Warn("VM state not recorded", "vm", g.name, "state", to, "error", err)
	}
}

// listen reads the console for signs of life and of death.
func (g *liveGuest) listen(path string) {
	ctx, cancel := context.WithCancel(g.ctx)
	defer cancel()
	g.wg.Go(func() { // a guest that is gone prints no more
		select {
		case <-g.guest.Done():
			cancel()
		case <-ctx.Done():
		}
	})
	var carry []byte
	err := tail.Follow(ctx, path, 0, func(chunk []byte) {
		g.sign()
		carry = append(carry, chunk...)
		if at := panicPattern.FindIndex(carry); at != nil && at[1] < len(carry) { // up to its line break
			g.panicked(string(carry[at[0]:at[1]]))
		}
		if i := strings.LastIndexByte(string(carry), '\n'); i >= 0 {
			carry = append(carry[:0], carry[i+1:]...)
		}
		if len(carry) > evidenceSize {
			carry = carry[:0]
		}
	})
	if err != nil && ctx.Err() == nil {
		g.m.log.Warn("console not followed", "vm", g.name, "error", err)
	}
}

// doom records why the guest is given up; the first reason counts.
func (g *liveGuest) doom(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == nil {
		g.cause = cause
		close(g.doomed)
	}
}

func (g *liveGuest) verdict() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause
}

// ended mends the record of a guest that has gone by itself. Where an operation is
// under way, here or in another process, it holds the lock and writes its own.
func (g *liveGuest) ended() {
	lock, err := g.m.locks.wait(g.unrecorded, g.id)
	if err != nil {
		return // recorded, or released: then the next process that looks settles it
	}
	err = g.m.states.retry(g.ctx, g.id, func(inst Instance) error {
		if !g.owns(inst) {
			return nil
		}
		to, reason := g.epitaph()
		_, err := g.m.destroyer.finalise(g.ctx, inst, ending{to: to, reason: reason, exit: g.guest.Exit()})
		return err
	})
	g.m.locks.leave(lock, errors.Is(err, errors.ErrVMNotFound))
	if err != nil && !errors.Is(err, errors.ErrVMNotFound) && g.ctx.Err() == nil {
		g.m.log.Warn("end of VM not recorded", "vm", g.name, "error", err)
	}
}

// epitaph says in which state a guest that went by itself is, and why.
func (g *liveGuest) epitaph() (State, string) {
	<-g.told
	g.mu.Lock()
	defer g.mu.Unlock()
	exit := g.guest.Exit()
	switch {
	case errors.Is(g.cause, errors.ErrGuestPanic):
		return Failed, ReasonGuestPanic
	case g.why == ReasonGuestShutdown:
		return Stopped, ReasonGuestShutdown
	case g.why == "" && g.barked == WatchdogPoweroff:
		return Failed, ReasonWatchdog
	case g.why != "" && exit.Signal == "":
		return Stopped, g.why // "host-qmp-quit", "host-signal", "guest-reset", ...
	default:
		return Failed, ReasonQEMUExited + ": " + exit.String()
	}
}

// guard returns a context that ends when the guest does, or is given up.
func (g *liveGuest) guard(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	g.m.live.watching.Go(func() { // ended and waited for by the CancelFunc, or by Close
		defer close(done)
		cancel(g.wait(ctx))
	})
	return ctx, func() {
		cancel(context.Canceled)
		<-done
	}
}

// wait returns why the guest is of no more use, or nil when ctx ends first.
func (g *liveGuest) wait(ctx context.Context) error {
	silence := g.limits.Silence.std()
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.doomed:
			return g.verdict()
		case <-g.guest.Done():
			return g.exited(ctx)
		case <-g.ctx.Done():
			if gone(g.guest) {
				return g.exited(ctx)
			}
			return errClosed("watch VM " + g.name)
		case <-timer.C:
			quiet := time.Since(time.Unix(0, g.lastSign.Load()))
			if g.up.Load() {
				continue // no further watch on silence
			}
			if g.halted.Load() {
				quiet = 0
			}
			if quiet >= silence {
				return g.silent(quiet)
			}
			timer.Reset(silence - quiet)
		}
	}
}

// exited says how the guest ended, nil when ctx ends before that is known.
func (g *liveGuest) exited(ctx context.Context) error {
	select {
	case <-g.told:
	case <-ctx.Done():
		return nil
	}
	if cause := g.verdict(); cause != nil {
		return cause
	}
	_, reason := g.epitaph()
	return &errors.Error{Kind: errors.ErrVMNotRunning, Op: "VM", VM: g.name, Msg: "its guest has ended: " + reason}
}

func (g *liveGuest) silent(quiet time.Duration) error {
	rt := g.guest.Runtime()
	hint := "raise Config.Timeouts.Silence if it needs longer, or look whether its console is the first serial port"
	if rt.Accel == "kvm" {
		hint = `KVM may not be able to run guests here: set Config.Accel to "tcg"; or ` + hint
	}
	return &errors.GuestError{Kind: errors.ErrGuestSilent, VM: g.name,
		Msg:     "no sign of life for " + quiet.Round(time.Millisecond).String() + " under " + rt.Accel,
		Console: lastOf(rt.Console), Hint: hint}
}
