package process

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// agentPatience is how long a guest's agent may take to answer before its shutdown is
// asked for in another way; powerPause is between two presses of the power button,
// which a guest that boots does not notice.
const (
	agentPatience = time.Second
	powerPause    = 2 * time.Second
)

// Ladder implements vm.Guest.
func (g *guest) Ladder() []vm.StopStep {
	return []vm.StopStep{
		{Name: "agent", Graceful: true, Run: g.askAgent},
		{Name: "acpi", Graceful: true, Run: g.pressPower},
		{Name: "quit", Run: g.quit},
		{Name: "sigterm", Run: func(context.Context) error { return g.proc.signal(unix.SIGTERM) }},
		{Name: "sigkill", Run: func(context.Context) error { return g.proc.signal(unix.SIGKILL) }},
	}
}

// awake fails when the guest can't do anything because its CPUs stand still.
func (g *guest) awake(ctx context.Context) error {
	if err := g.control.Err(); err != nil {
		return err
	}
	raw, err := g.control.Execute(ctx, "query-status", nil)
	if err != nil {
		return err
	}
	status, err := decodeStatus(raw)
	if err == nil && !status.Running {
		err = errors.New("the guest is halted: " + status.Status)
	}
	return err
}

// askAgent asks the guest's agent to shut the system down. It fails when the agent does
// not answer a sync in time. The command itself has no answer; the channel stays open
// until the guest is gone or ctx ends, because QEMU drops what a client that has left
// wrote last.
func (g *guest) askAgent(ctx context.Context) error {
	if err := g.awake(ctx); err != nil {
		return err
	}
	patience := agentPatience
	if g.runtime.Accel == "tcg" {
		patience *= scaleTCG - 1
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := g.Dial(asking, vm.ChannelAgent, true)
	if err != nil {
		return err
	}
	agent := qmp.NewAgent(conn)
	defer func() { _ = agent.Close() }() // what counts is in Done
	if err := agent.Sync(asking); err != nil {
		return err
	}
	if err := agent.ExecuteNoReply(asking, "guest-shutdown", map[string]string{"mode": "powerdown"}); err != nil {
		return err
	}
	select {
	case <-g.life.Done():
	case <-ctx.Done(): // asked; whether it was heard shows in Done
	}
	return nil
}

// pressPower presses the power button until the guest is gone or ctx ends.
func (g *guest) pressPower(ctx context.Context) error {
	if err := g.awake(ctx); err != nil {
		return err
	}
	ticker := time.NewTicker(powerPause)
	defer ticker.Stop()
	for {
		if _, err := g.control.Execute(ctx, "system_powerdown", nil); err != nil {
			if g.proc.gone() {
				return nil
			}
			return err
		}
		select {
		case <-g.proc.done():
			return nil
		case <-ctx.Done():
			return nil // asked; whether it was heard shows in Done
		case <-ticker.C:
		}
	}
}

// quit has QEMU flush its disks and end. The connection ends with it, perhaps before
// the answer is read.
func (g *guest) quit(ctx context.Context) error {
	if g.proc.gone() {
		return errors.Wrap(errors.ErrVMNotRunning, "quit", g.name, errEnded)
	}
	if err := g.control.Err(); err != nil {
		return err // lost before it could be asked
	}
	_, err := g.control.Execute(ctx, "quit", nil)
	if errors.Is(err, errors.ErrQMPConnection) && ctx.Err() == nil {
		return nil
	}
	return err
}
