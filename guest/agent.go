package guest

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

const (
	// agentIdle is how long the agent's channel stays open after a command: opening it
	// anew costs a sync, and others wait for their turn meanwhile.
	agentIdle = 100 * time.Millisecond
	// agentHold is how long one process keeps the channel while others may wait.
	agentHold = time.Second
)

// agentChannel is a guest's agent channel as this process uses it: one command at a
// time, opened on demand. Only one client can use it at once, so it is given up
// again soon; others of this and of other processes take turns.
type agentChannel struct {
	guest vm.Guest
	turn  chan struct{} // has room for one: who put a token in uses the fields below

	agent  *qmp.Agent // nil while the channel is not open
	opened time.Time
	idle   *time.Timer // gives the channel up

	// inUse is agent, for drop, which does not wait for its turn.
	inUse atomic.Pointer[qmp.Agent]

	once sync.Once
	gone chan struct{} // closed by close
}

func newAgentChannel(g vm.Guest) *agentChannel {
	return &agentChannel{guest: g, turn: make(chan struct{}, 1), gone: make(chan struct{})}
}

// call runs one command of the agent. reply may be nil. The agent's refusals are
// *errors.QMPError; a channel that fails is opened anew for the next command.
func (c *agentChannel) call(ctx context.Context, command string, args, reply any) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	if c.agent == nil || c.agent.Err() != nil {
		c.hangUp()
		if err := c.open(ctx); err != nil {
			return err
		}
	}
	raw, err := c.agent.Execute(ctx, command, args)
	if err != nil {
		return c.failed(ctx, err)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(raw, reply); err != nil {
		return &errors.Error{Kind: errors.ErrAgentUnavailable, Msg: "the agent's answer to " + command + " makes no sense", Err: err}
	}
	return nil
}

func (c *agentChannel) lock(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.gone:
		return lost(nil)
	}
	if c.idle != nil {
		c.idle.Stop()
	}
	return nil
}

func (c *agentChannel) unlock() {
	if c.agent != nil && time.Since(c.opened) > agentHold {
		c.hangUp()
	}
	if c.agent != nil {
		c.idle = time.AfterFunc(agentIdle, c.giveUp)
	}
	<-c.turn
}

// giveUp closes an idle channel, unless somebody uses it again.
func (c *agentChannel) giveUp() {
	select {
	case c.turn <- struct{}{}:
		c.hangUp()
		<-c.turn
	default:
	}
}

// open waits for the channel's turn, and for the agent: a guest that boots answers the
// sync when its agent has started.
func (c *agentChannel) open(ctx context.Context) error {
	conn, err := c.guest.Dial(ctx, vm.ChannelAgent, true)
	if err != nil {
		return err
	}
	agent := qmp.NewAgent(conn)
	c.inUse.Store(agent)
	if err := agent.Sync(ctx); err != nil {
		_ = agent.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return lost(err)
	}
	c.agent, c.opened = agent, time.Now()
	return nil
}

// failed sorts a command's error. The agent's own refusal leaves the channel usable.
func (c *agentChannel) failed(ctx context.Context, err error) error {
	var refusal *errors.QMPError
	if errors.As(err, &refusal) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err() // the client syncs before its next command
	}
	c.hangUp()
	return lost(err)
}

func (c *agentChannel) hangUp() {
	if c.agent != nil {
		_ = c.agent.Close()
		c.agent = nil
	}
}

// drop makes a command under way fail: the guest was reset and will not answer it.
func (c *agentChannel) drop() {
	if agent := c.inUse.Load(); agent != nil {
		_ = agent.Close()
	}
}

// close ends the channel for good.
func (c *agentChannel) close() {
	c.once.Do(func() {
		close(c.gone)
		c.drop()
		c.turn <- struct{}{}
		if c.idle != nil {
			c.idle.Stop()
		}
		c.hangUp()
	})
}
