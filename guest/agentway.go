package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io/fs"
	"strconv"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
)

// agentWay is the way by the QEMU guest agent (QEMU Guest Agent Protocol Reference).
// What the agent's commands can't do is done by the guest's sh, mktemp, mv and tar.
type agentWay struct {
	scripts
	m       *Manager
	channel *agentChannel
	ended   chan struct{}
	why     error // before ended is closed; may be nil
	once    sync.Once
}

func newAgentWay(m *Manager, c *agentChannel) *agentWay {
	w := &agentWay{m: m, channel: c, ended: make(chan struct{})}
	w.scripts = scripts{w.exec}
	return w
}

func (w *agentWay) done() <-chan struct{} { return w.ended }

func (w *agentWay) close(why error) {
	w.once.Do(func() {
		w.why = why
		close(w.ended)
		w.channel.drop()
	})
}

// call is agentChannel.call for one session: PIDs and file handles mean nothing after
// a reset of the guest.
func (w *agentWay) call(ctx context.Context, command string, args, reply any) error {
	err := w.channel.call(ctx, command, args, reply)
	select {
	case <-w.ended:
		return lost(errors.Join(w.why, err))
	default:
		return err
	}
}

func (w *agentWay) ping(ctx context.Context) error {
	return w.call(ctx, "guest-ping", nil, nil)
}

func (w *agentWay) setTime(ctx context.Context, t time.Time) error {
	return w.call(ctx, "guest-set-time", map[string]int64{"time": t.UnixNano()}, nil)
}

// reseed mixes new bytes into the guest's random generator (random(4)).
func (w *agentWay) reseed(ctx context.Context) error {
	seed := make([]byte, 64)
	rand.Read(seed) // never fails
	return w.writeHandle(ctx, "/dev/urandom", bytes.NewReader(seed))
}

// explain adds fs.ErrNotExist to the agent's refusal of a path that does not exist. The
// refusal itself says so only in words, so the guest is asked.
func (w *agentWay) explain(ctx context.Context, path string, err error) error {
	var refusal *errors.QMPError
	if !errors.As(err, &refusal) {
		return err
	}
	exists, testErr := w.exists(ctx, path)
	if testErr == nil && !exists {
		err = errors.Join(fs.ErrNotExist, err)
	}
	return &errors.Error{Kind: errors.ErrGuest, Err: err}
}

// tidyLimit bounds what is done in a guest after a call has ended.
const tidyLimit = 5 * time.Second

// tidy runs fn after a call that may have been cancelled: what was begun in the guest
// is undone in the background, so that the caller need not wait for it.
func (w *agentWay) tidy(fn func(ctx context.Context) error) {
	w.m.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, tidyLimit)
		defer cancel()
		if err := fn(ctx); err != nil {
			w.m.log.Debug("guest not tidied", "error", err)
		}
	})
}

// octal is how chmod(1) takes permissions.
func octal(perm fs.FileMode) string { return strconv.FormatUint(uint64(perm.Perm()), 8) }
