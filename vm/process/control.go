package process

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/qmp"
)

// control is a guest's control channel. It implements qmp.FileConn, qmp.Tapper and
// qmp.Holder.
//
// A monitor of QEMU takes one client at a time. The first processes that work with a
// guest get a monitor each and keep it. The last monitor belongs to nobody: whoever
// finds all others taken uses it in turns, which last as long as commands are in
// flight, and looks each time whether a monitor has become free for good.
type control struct {
	*qmp.Client
	guest  *guest
	unbind func() bool

	acquire chan struct{} // held by who connects

	mu     sync.Mutex
	begun  bool          // there was a connection
	own    bool          // the connection is to a monitor of this process's own
	turn   chan struct{} // it is to the shared one until this is closed; nil: it is not
	users  int           // of the turn
	keep   int           // those of them who hold it: what they execute belongs to it
	since  time.Time     // when the turn began
	parted time.Time     // when the last turn ended
}

const (
	// turnLimit is after which time a turn takes no new commands.
	turnLimit = 100 * time.Millisecond
	// courtesy is how long a process that had a turn leaves the monitor alone: others are
	// woken when it becomes free, and need a moment to take it.
	courtesy = 2 * time.Millisecond
)

var (
	_ qmp.FileConn = (*control)(nil)
	_ qmp.Tapper   = (*control)(nil)
	_ qmp.Holder   = (*control)(nil)
)

func newControl(g *guest, opts ...qmp.ClientOption) *control {
	c := &control{Client: qmp.NewClient(opts...), guest: g, acquire: make(chan struct{}, 1)}
	c.unbind = context.AfterFunc(g.life, func() {
		if len(c.acquire) == 0 { // who connects will say better how it ended
			c.bury()
		}
	})
	return c
}

// bury closes a client that has no connection, by which it would notice that QEMU has
// gone.
func (c *control) bury() {
	c.mu.Lock()
	idle := !c.own && c.turn == nil
	c.mu.Unlock()
	if idle && c.guest.life.Err() != nil {
		_ = c.Client.Close() // never fails
	}
}

// Close ends the channel for good.
func (c *control) Close() error {
	c.unbind()
	return c.Client.Close()
}

// Execute implements qmp.Conn.
func (c *control) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	release, err := c.hold(ctx, command, false)
	if err != nil {
		return nil, err
	}
	defer release()
	return c.Client.Execute(ctx, command, args)
}

// ExecuteOOB is qmp.Client's.
func (c *control) ExecuteOOB(ctx context.Context, command string, args any) (json.RawMessage, error) {
	release, err := c.hold(ctx, command, false)
	if err != nil {
		return nil, err
	}
	defer release()
	return c.Client.ExecuteOOB(ctx, command, args)
}

// ExecuteWithFiles implements qmp.FileConn.
func (c *control) ExecuteWithFiles(ctx context.Context, command string, args any, files ...*os.File) (json.RawMessage, error) {
	release, err := c.hold(ctx, command, false)
	if err != nil {
		return nil, err
	}
	defer release()
	return c.Client.ExecuteWithFiles(ctx, command, args, files...)
}

// connect makes the first connection, or another one after a loss.
func (c *control) connect(ctx context.Context) error {
	c.mu.Lock()
	c.own = c.own && c.Err() == nil
	c.mu.Unlock()
	leave, err := c.join(ctx, true, false)
	if err == nil {
		leave()
	}
	return err
}

// Hold implements qmp.Holder.
func (c *control) Hold(ctx context.Context) (release func(), err error) {
	return c.hold(ctx, "turn", true)
}

// hold joins a turn for one command, or to keep it.
func (c *control) hold(ctx context.Context, what string, keep bool) (release func(), err error) {
	release, err = c.join(ctx, false, keep)
	switch {
	case err == nil:
		return release, nil
	case ctx.Err() != nil:
		return nil, errors.Wrap(errors.ErrQMPTimeout, "QMP "+what, "", ctx.Err())
	}
	return nil, errors.Wrap(errors.ErrQMPConnection, "QMP "+what, "", err)
}

func (c *control) join(ctx context.Context, first, keep bool) (release func(), err error) {
	for {
		c.mu.Lock()
		turn := c.turn
		switch {
		case c.own, !first && (!c.begun || c.Err() != nil): // the client says itself that it is not connected, or why no more
			c.mu.Unlock()
			return func() {}, nil
		case turn != nil && c.open(first):
			c.users++
			if keep {
				c.keep++
			}
			c.mu.Unlock()
			return sync.OnceFunc(func() { c.leave(keep) }), nil
		}
		c.mu.Unlock()
		if turn == nil {
			err = c.claim(ctx)
		} else { // it is over as soon as its commands are
			select {
			case <-turn:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// open reports whether the present turn can be joined. One that somebody holds always can:
// what he executes would wait for himself. One without users, too: it was just claimed, and
// would never end. connect wants none whose connection is lost. The caller holds mu.
func (c *control) open(first bool) bool {
	if first && c.users > 0 && c.Err() != nil {
		return false
	}
	return c.users == 0 || c.keep > 0 || time.Since(c.since) < turnLimit
}

// leave ends one user's part in the turn, and with the last one's the turn.
func (c *control) leave(keep bool) {
	c.mu.Lock()
	if keep {
		c.keep--
	}
	c.users--
	last := c.users == 0
	if last {
		c.Disconnect() // closes the socket, which frees its lock
		close(c.turn)
		c.turn, c.parted = nil, time.Now()
	}
	c.mu.Unlock()
	if last {
		c.bury()
	}
}

// claim connects to a monitor, unless somebody else in this process has done it meanwhile.
func (c *control) claim(ctx context.Context) error {
	select {
	case c.acquire <- struct{}{}:
		defer func() {
			<-c.acquire
			c.bury()
		}()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	have, parted := c.own || c.turn != nil, c.parted
	c.mu.Unlock()
	if have {
		return nil
	}
	if c.guest.life.Err() != nil { // its folder may be another guest's by now
		err := context.Cause(c.guest.life)
		if c.guest.proc.gone() {
			err = errors.Join(c.guest.cause(), err)
		}
		return err
	}
	if err := pause(ctx, courtesy-time.Since(parted)); err != nil {
		return err
	}
	socket, lock, own, err := c.monitor(ctx)
	if err != nil {
		return err
	}
	conn, err := c.guest.open(ctx, socket, lock)
	if err == nil {
		err = c.Connect(ctx, conn) // closes conn at its end, which frees the monitor
	} else if ctx.Err() == nil { // a socket of ours refuses only when QEMU is gone
		if cause := c.guest.cause(); cause != nil {
			err = errors.Join(cause, err)
		}
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun, c.own, c.since = true, own, time.Now()
	if !own {
		c.turn = make(chan struct{})
	}
	return nil
}

// monitor takes the lock of the first monitor that nobody uses, or waits for the shared
// one.
func (c *control) monitor(ctx context.Context) (socket string, lock *flock.Lock, own bool, err error) {
	for i := range monitors - 1 {
		socket = socketPath(c.guest.runtime.Dir, monitorName(i))
		lock, err = flock.Try(lockPath(socket))
		if !errors.Is(err, flock.ErrHeld) {
			return socket, lock, true, err
		}
	}
	ctx, cancel := c.guest.within(ctx)
	defer cancel()
	socket = socketPath(c.guest.runtime.Dir, monitorName(monitors-1))
	if lock, err = flock.Wait(ctx, lockPath(socket)); err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return socket, lock, false, err
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
