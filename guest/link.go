package guest

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// link is what this process has with one live guest: at most one session, opened by
// the first caller that needs it.
type link struct {
	guest  vm.Guest
	events *qmp.Subscription
	agent  *agentChannel
	turn   chan struct{} // has room for one: who put a token in opens the session

	checking atomic.Bool // the session is being asked whether it still works

	mu  sync.Mutex
	way way // nil before it is opened
	// epoch ends when the guest is not any more who it was; see renew.
	epoch context.Context
	renew context.CancelCauseFunc // ends epoch
	ssh   map[*sshWay]struct{}    // connections of callers
	loads map[string]struct{}     // jobs of this process that bring the guest back; see Renew
	// hostKeys are those that the guest's ssh servers have proved to have, by their ports.
	hostKeys map[int][]ssh.PublicKey
}

func (l *link) knownHostKeys(port int) []ssh.PublicKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hostKeys[port])
}

// setHostKeys keeps the key of a connection that was let in.
func (l *link) setHostKeys(port int, keys *hostKeys) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.hostKeys[port]) == 0 {
		l.hostKeys[port] = []ssh.PublicKey{keys.seen}
	}
}

// linkTo returns the link with g, and makes it when there is none.
func (m *Manager) linkTo(g vm.Guest) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.links[g]; l != nil || m.closed {
		return l
	}
	l := &link{
		guest: g, events: g.QMP().Subscribe(qapi.EventReset, qapi.EventJobStatusChange),
		agent: newAgentChannel(g), turn: make(chan struct{}, 1),
		ssh: map[*sshWay]struct{}{}, loads: map[string]struct{}{},
		hostKeys: map[int][]ssh.PublicKey{},
	}
	l.epoch, l.renew = context.WithCancelCause(m.ctx)
	m.links[g] = l
	m.wg.Go(func() { m.tend(l) })
	return l
}

// tend drops the connections when the guest was reset, or another process has it brought back
// to a snapshot, for then nobody in it knows of them any more; and the link when the guest is
// gone.
func (m *Manager) tend(l *link) {
	defer m.forget(l)
	defer l.events.Close()
	events := l.events.C()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-l.guest.Done():
			return
		case ev, ok := <-events:
			switch {
			case !ok:
				events = nil // QMP is lost; the guest's end will follow, or not
			case ev.Name == qmp.EventGap:
				m.check(l)
			case ev.Name == qapi.EventReset:
				m.drop(l, errReset)
			case l.broughtBack(ev):
				m.drop(l, errReverted)
			}
		}
	}
}

// checkLimit is how long a session may take to answer a ping before it is dropped.
const checkLimit = 20 * time.Second

// check drops, in the background, a session that does not answer: its guest may have been
// reset while nobody listened for that. Where a QEMU has more clients than monitors each of
// their turns begins with a gap, so one that does answer must go on, and so must one whose
// guest is halted: it will answer when it runs again.
func (m *Manager) check(l *link) {
	w := l.current()
	if w == nil || !l.checking.CompareAndSwap(false, true) {
		return
	}
	m.background(func(ctx context.Context) {
		defer l.checking.Store(false)
		for {
			err := m.answers(ctx, w)
			switch {
			case err == nil || ctx.Err() != nil || l.current() != w:
				return
			case !isContextError(err) || !l.halted(ctx):
				m.log.Debug("guest does not answer, session dropped", "error", err)
				l.replace(nil, err)
				return
			}
		}
	})
}

func (m *Manager) answers(ctx context.Context, w way) error {
	ctx, cancel := context.WithTimeout(ctx, m.checkLimit)
	defer cancel()
	return w.ping(ctx)
}

// halted reports whether the guest's CPUs are: it is paused, or being saved.
func (l *link) halted(ctx context.Context) bool {
	raw, err := l.guest.QMP().Execute(ctx, "query-status", nil)
	var status struct {
		Running bool `json:"running"`
	}
	return err == nil && json.Unmarshal(raw, &status) == nil && !status.Running
}

func (m *Manager) forget(l *link) {
	m.mu.Lock()
	delete(m.links, l.guest)
	m.mu.Unlock()
	// Whoever is opening a session now finds the manager closed or the guest gone;
	// the turn keeps a late one from being stored after this.
	l.agent.close()
	l.turn <- struct{}{}
	l.replace(nil, nil)
	l.renew(errLost)
}

// current returns the session if it still works.
func (l *link) current() way {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.way == nil {
		return nil
	}
	select {
	case <-l.way.done():
		return nil
	default:
		return l.way
	}
}

// replace stores w and closes what was there; why may be nil.
func (l *link) replace(w way, why error) {
	l.mu.Lock()
	old := l.way
	l.way = w
	l.mu.Unlock()
	if old != nil {
		old.close(why)
	}
}

// enter returns the session with the call's guest. If there is none yet it opens one,
// which takes until the guest's agent answers: at most Timeouts.Ready.
func (m *Manager) enter(c *call) (way, error) {
	l, err := m.linkOf(c)
	if err != nil {
		return nil, err
	}
	if w := l.current(); w != nil {
		return w, nil
	}
	inst, err := m.machines.Get(c.guard, c.ref)
	if err != nil {
		return nil, err
	}
	limit := readyLimit(inst)
	ctx, cancel := context.WithTimeout(c.guard, limit)
	defer cancel()
	w, err := m.enterInTurn(ctx, l)
	if err != nil && ctx.Err() != nil && c.guard.Err() == nil {
		return nil, &errors.Error{
			Kind: errors.ErrAgentUnavailable, Op: c.op, VM: inst.Name,
			Msg:  "no agent answered within " + limit.String(),
			Hint: "a guest of your own needs qemu-guest-agent; Config.Timeouts.Ready is the limit",
		}
	}
	return w, err
}

// linkOf returns the link with the call's guest.
func (m *Manager) linkOf(c *call) (*link, error) {
	g, err := m.machines.Live(c.guard, c.ref)
	if err != nil {
		return nil, err
	}
	l := m.linkTo(g)
	if l == nil {
		return nil, errClosed(c.op, c.ref)
	}
	return l, nil
}

func (m *Manager) enterInTurn(ctx context.Context, l *link) (way, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.guest.Done():
		return nil, errLost
	case <-m.ctx.Done():
		return nil, errLost
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	for {
		if w := l.current(); w != nil {
			return w, nil
		}
		w, err := m.openNow(ctx, l)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errRenewed) {
			return w, err
		}
	}
}

// errRenewed is the end of an attempt to open a session with a guest that has become another
// meanwhile.
var errRenewed = errors.New("the guest is not who it was")

// openNow opens a session and stores it. What has begun when the guest is reset or brought
// back is given up: what it has sent may be lost.
func (m *Manager) openNow(ctx context.Context, l *link) (way, error) {
	l.mu.Lock()
	epoch := l.epoch
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(epoch, cancel)()
	w, err := m.open(ctx, l)
	l.mu.Lock()
	over := l.epoch != epoch
	if err == nil && !over {
		l.way = w // there was none, or one that has ended
	}
	l.mu.Unlock()
	if !over {
		return w, err
	}
	if err == nil {
		w.close(errRenewed)
	}
	return nil, errRenewed
}

// open chooses the way: a stream channel of our init that nobody uses, else the agent's
// channel, which all users take in turns.
func (m *Manager) open(ctx context.Context, l *link) (way, error) {
	sockets := l.guest.Runtime().Sockets
	for _, channel := range []string{vm.ChannelStream0, vm.ChannelStream1} {
		if _, ok := sockets[channel]; !ok {
			continue
		}
		conn, err := l.guest.Dial(ctx, channel, false)
		if errors.Is(err, errors.ErrAgentUnavailable) {
			continue // another process uses it
		}
		if err != nil {
			return nil, err
		}
		session, err := wire.Connect(ctx, conn)
		if err != nil {
			return nil, lost(err)
		}
		m.log.Debug("guest session opened", "channel", channel)
		return &streamWay{m: m, session: session}, nil
	}
	w := newAgentWay(m, l.agent)
	if err := w.ping(ctx); err != nil {
		w.close(nil)
		return nil, err
	}
	m.log.Debug("guest session opened", "channel", vm.ChannelAgent)
	return w, nil
}

// readyLimit is how long a guest may take until its agent answers; see vm.Timeouts.
func readyLimit(inst vm.Instance) time.Duration {
	if d := inst.Config.Timeouts.Ready; d > 0 {
		return time.Duration(d)
	}
	const limit = 60 * time.Second
	if inst.Runtime.Accel == "tcg" {
		return 4 * limit
	}
	return limit
}
